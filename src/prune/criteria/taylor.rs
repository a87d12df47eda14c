//! `taylor`: what the loss would change by, to first order.

use std::collections::BTreeSet;

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
};
use crate::{graph::Role, model::Model};

/// The square of the first-order change of the detection loss when something is multiplied by zero: of a weight (w·g)², of a
/// channel the mean over images of (Σ γ·g_γ + β·g_β)² over its normalisations, of a filter that of (Σ w·g)² over what is coupled.
/// The gradient of all images together is nearly 0 in a network that has been trained, that of one is not.
pub(super) struct Taylor;

impl Criterion for Taylor {
    fn about(&self) -> About {
        About {
            name: "taylor",
            aliases: &[],
            strategy: Strategy::Sensitivity,
            forms: &[
                Form {
                    granularities: &[Granularity::Channel],
                    units: "batch normalisation",
                    data: Data::Labels,
                    formula: "mean over images of (Σ γ·g_γ + β·g_β over its batch normalisations)²",
                },
                Form {
                    granularities: &[Granularity::Filter],
                    units: "filters",
                    data: Data::Labels,
                    formula: "mean over images of (Σ w·g over its filters)²",
                },
                Form { granularities: Granularity::MASKED, units: "weights", data: Data::Labels, formula: "(w·g)²" },
            ],
            paper: "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning",
        }
    }

    fn needs(&self, _: &Model, granularity: Granularity) -> Needs {
        match granularity {
            Granularity::Channel | Granularity::Filter => {
                Needs { products: roles(granularity).to_vec(), ..Needs::default() }
            }
            Granularity::Weight | Granularity::NM | Granularity::Block | Granularity::Depth => {
                Needs { gradients: true, ..Needs::default() }
            }
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let parameters = context.model.graph().parameters();
        let judged = parameters.filter(|(_, _, parameter)| parameter.role == roles(context.granularity)[0]);
        let channels: BTreeSet<_> = judged.flat_map(|(node, _, _)| context.groups.labels(node).to_vec()).collect();
        let scores = channels.iter().map(|&channel| context.measured.products[channel]).collect();
        Ok(vec![Part { value: None, channels: channels.into_iter().collect(), scores }])
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.paired_weights(&context.measured.gradients, |w, g| (w * g).powi(2))
    }
}

/// What is multiplied by zero: scales and shifts of normalisations, or filters.
fn roles(granularity: Granularity) -> &'static [Role] {
    match granularity {
        Granularity::Channel => &[Role::NormScale, Role::NormShift],
        Granularity::Filter | Granularity::Weight | Granularity::NM | Granularity::Block | Granularity::Depth => {
            &[Role::Weight]
        }
    }
}
