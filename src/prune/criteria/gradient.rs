//! `gradient`: how strongly a loss pulls.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::activations,
    reduce::Reduce,
};
use crate::{graph::Role, model::Model};

/// Magnitudes of gradients of the detection loss: of a weight |g|, of a filter the norm of its g, of a channel the mean of
/// |∂L/∂a| over images and places.
pub(super) struct Gradient;

impl Criterion for Gradient {
    fn about(&self) -> About {
        About {
            name: "gradient",
            aliases: &[],
            strategy: Strategy::Sensitivity,
            forms: &[
                Form {
                    granularities: &[Granularity::Channel],
                    units: "activations",
                    data: Data::Labels,
                    formula: "mean |∂L/∂a| of its activations, mean over its layers",
                },
                Form {
                    granularities: &[Granularity::Filter],
                    units: "filters",
                    data: Data::Labels,
                    formula: "√Σ g² over its filters, g of the detection loss",
                },
                Form { granularities: Granularity::MASKED, units: "weights", data: Data::Labels, formula: "|g|" },
            ],
            paper: "Mozer and Smolensky 1988, Skeletonization; as magnitudes Liu and Wu 2019, Channel Pruning Based on Mean Gradient",
        }
    }

    fn needs(&self, model: &Model, granularity: Granularity) -> Needs {
        match granularity {
            Granularity::Channel => Needs { pulls: activations(model), ..Needs::default() },
            Granularity::Filter | Granularity::Weight | Granularity::NM | Granularity::Block | Granularity::Depth => {
                Needs { gradients: true, ..Needs::default() }
            }
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        if context.granularity == Granularity::Filter {
            return context.paired(Role::Weight, &context.measured.gradients, |_, g| g * g);
        }
        let pulls = |node| Some(context.measured.pulls.get(&node)?.iter().copied());
        Ok(context.flows(&activations(context.model), pulls))
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.paired_weights(&context.measured.gradients, |_, g| g.abs())
    }

    fn reduce(&self, granularity: Granularity) -> Reduce {
        if granularity == Granularity::Filter { Reduce::Sum } else { Reduce::Mean }
    }

    fn finish(&self, granularity: Granularity, joined: f64) -> f64 {
        if granularity == Granularity::Filter { joined.sqrt() } else { joined }
    }
}
