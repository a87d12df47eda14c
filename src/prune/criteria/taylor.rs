//! `taylor`: what the loss would change by, to first order.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
};
use crate::{graph::Role, model::Model};

/// The square of the first-order change of the detection loss when something is multiplied by zero: of a weight (w·g)², of a
/// filter the sum of these, of a channel (γ·g_γ + β·g_β)², summed over its normalisations before it is squared.
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
                    formula: "(Σ γ·g_γ + β·g_β)² over its batch normalisations, g of the detection loss",
                },
                Form {
                    granularities: &[Granularity::Filter],
                    units: "filters",
                    data: Data::Labels,
                    formula: "Σ (w·g)² over its filters",
                },
                Form { granularities: Granularity::MASKED, units: "weights", data: Data::Labels, formula: "(w·g)²" },
            ],
            paper: "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning",
        }
    }

    fn needs(&self, _: &Model, _: Granularity) -> Needs {
        Needs { gradients: true, ..Needs::default() }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let gradients = &context.measured.gradients;
        if context.granularity == Granularity::Filter {
            return context.paired(Role::Weight, gradients, |w, g| (w * g).powi(2));
        }
        let mut parts = context.paired(Role::NormScale, gradients, |scale, g| scale * g)?;
        let shifts = context.paired(Role::NormShift, gradients, |shift, g| shift * g)?;
        for (part, shift) in parts.iter_mut().zip(shifts) {
            part.scores.iter_mut().zip(shift.scores).for_each(|(score, shift)| *score += shift);
        }
        Ok(parts)
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.paired_weights(&context.measured.gradients, |w, g| (w * g).powi(2))
    }

    fn finish(&self, granularity: Granularity, joined: f64) -> f64 {
        if granularity == Granularity::Filter { joined } else { joined * joined }
    }
}
