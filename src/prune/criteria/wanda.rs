//! `wanda`: how much a weight gives on real images.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Weight, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::inputs,
};
use crate::model::Model;

/// |w| times ‖x‖₂ of the input channel that it reads, over images and places.
pub(super) struct Wanda;

impl Criterion for Wanda {
    fn about(&self) -> About {
        About {
            name: "wanda",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: Granularity::MASKED,
                units: "weights",
                data: Data::Images,
                formula: "|w| · ‖x‖₂ of the input channel that it reads",
            }],
            paper: "Sun et al. 2024, A Simple and Effective Pruning Approach for Large Language Models",
        }
    }

    fn needs(&self, model: &Model, _: Granularity) -> Needs {
        Needs { activations: inputs(model), ..Needs::default() }
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.each_weight(|Weight { node, conv, numbers, .. }| {
            let input = context.model.graph().node(node).inputs[0];
            let seen = context.measured.activations.get(&input).map_or(&[][..], Vec::as_slice);
            let [_, columns, height, width] = conv.weight_shape();
            let (area, gives) = (height * width, conv.out_channels / conv.groups);
            let score = |(place, w): (usize, &f32)| {
                let (row, column) = (place / area / columns, place / area % columns);
                let norm = seen.get(row / gives * columns + column).map_or(0.0, |channel| channel.norm());
                (f64::from(w.abs()) * norm) as f32
            };
            Ok(numbers.iter().enumerate().map(score).collect())
        })
    }
}
