//! `movement`: whether training moves a weight towards zero.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
};
use crate::model::Model;

/// −Σ g·w over the images, at fixed weights: negative where a step of training would make the weight smaller.
pub(super) struct Movement;

impl Criterion for Movement {
    fn about(&self) -> About {
        About {
            name: "movement",
            aliases: &[],
            strategy: Strategy::Sensitivity,
            forms: &[Form {
                granularities: Granularity::MASKED,
                units: "weights",
                data: Data::Labels,
                formula: "−Σ g·w over the images",
            }],
            paper: "Sanh et al. 2020, Movement Pruning",
        }
    }

    fn needs(&self, _: &Model, _: Granularity) -> Needs {
        Needs { gradients: true, ..Needs::default() }
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        // The mean over the images, whose order and ties are those of the sum.
        context.paired_weights(&context.measured.gradients, |w, g| -g * w)
    }
}
