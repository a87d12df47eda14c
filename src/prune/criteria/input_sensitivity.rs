//! `input_sensitivity`: how noise on the images changes what flows.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::{activations, responses},
    reduce::Reduce,
};
use crate::{graph::NodeId, model::Model};

/// The mean of |a(x + d) − a(x)| over images and places, divided by the root mean square of d: noise on the pixels from the
/// seed, normal with a standard deviation of 0.02. Of a filter a is what it gives before the activation function, of a
/// channel what flows behind it.
pub(super) struct InputSensitivity;

impl Criterion for InputSensitivity {
    fn about(&self) -> About {
        About {
            name: "input_sensitivity",
            aliases: &[],
            strategy: Strategy::Sensitivity,
            forms: &[
                Form {
                    granularities: &[Granularity::Filter],
                    units: "filters",
                    data: Data::Images,
                    formula: "mean |a(x + d) − a(x)| / rms(d) before the activation, d noise on the pixels; mean over its filters",
                },
                Form {
                    granularities: &[Granularity::Channel],
                    units: "activations",
                    data: Data::Images,
                    formula: "mean |a(x + d) − a(x)| / rms(d) after the activation, d noise on the pixels; mean over its layers",
                },
            ],
            paper: "own: a finite difference of the layer in its input; compare Novak et al. 2018, Sensitivity and Generalization",
        }
    }

    fn needs(&self, model: &Model, granularity: Granularity) -> Needs {
        Needs { changes: places(model, granularity), ..Needs::default() }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let changes = |node| Some(context.measured.changes.get(&node)?.iter().copied());
        Ok(context.flows(&places(context.model, context.granularity), changes))
    }

    fn reduce(&self, _: Granularity) -> Reduce {
        Reduce::Mean
    }
}

fn places(model: &Model, granularity: Granularity) -> Vec<NodeId> {
    match granularity {
        Granularity::Filter => responses(model),
        Granularity::Channel | Granularity::Weight | Granularity::NM | Granularity::Block | Granularity::Depth => {
            activations(model)
        }
    }
}
