//! `activation`: how large what a channel carries is.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::activations,
    reduce::Reduce,
};
use crate::model::Model;

/// The mean of |a| over images and places, after the activation function.
pub(super) struct Activation;

impl Criterion for Activation {
    fn about(&self) -> About {
        About {
            name: "activation",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: &[Granularity::Channel],
                units: "activations",
                data: Data::Images,
                formula: "mean |a| after the activation, mean over its layers",
            }],
            paper: "Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient Inference",
        }
    }

    fn needs(&self, model: &Model, _: Granularity) -> Needs {
        Needs { activations: activations(model), ..Needs::default() }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let means = |node| Some(context.measured.activations.get(&node)?.iter().map(|seen| seen.mean_magnitude()));
        Ok(context.flows(&activations(context.model), means))
    }

    fn reduce(&self, _: Granularity) -> Reduce {
        Reduce::Mean
    }
}
