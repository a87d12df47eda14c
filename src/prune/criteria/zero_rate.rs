//! `zero_rate`: how often something is zero.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, Weight, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::activations,
    reduce::Reduce,
};
use crate::model::Model;

/// The share that is not zero, so that what has most zeros goes first: of a channel's activations 1 − APoZ, the average
/// percentage of zeros, where an activation function without an exact zero, such as SiLU, counts what is below 0.01 of the
/// layer's root mean square; of a filter the share of |w| that is not below the threshold. A single weight scores as its filter
/// does, a row of the weight's matrix, and within that by its own magnitude; in a block every weight counts for itself, so
/// that the sum over the block is its count of those that are not zero.
pub(super) struct ZeroRate;

impl Criterion for ZeroRate {
    fn about(&self) -> About {
        About {
            name: "zero_rate",
            aliases: &["apoz"],
            strategy: Strategy::Sparsity,
            forms: &[
                Form {
                    granularities: &[Granularity::Channel],
                    units: "activations",
                    data: Data::Images,
                    formula: "share of its activations that are not zero (SiLU: |a| ≥ 0.01 rms), mean over its layers",
                },
                Form {
                    granularities: &[Granularity::Filter],
                    units: "filters",
                    data: Data::None,
                    formula: "share of |w| ≥ threshold, mean over its filters",
                },
                Form {
                    granularities: &[Granularity::Weight, Granularity::NM],
                    units: "weights",
                    data: Data::None,
                    formula: "share of |w| ≥ threshold in its filter, then |w|",
                },
                Form {
                    granularities: &[Granularity::Block],
                    units: "weights",
                    data: Data::None,
                    formula: "|w| ≥ threshold, summed over its block, then |w|",
                },
            ],
            paper: "Hu et al. 2016, Network Trimming (APoZ)",
        }
    }

    fn needs(&self, model: &Model, granularity: Granularity) -> Needs {
        match granularity {
            Granularity::Channel => Needs { activations: activations(model), ..Needs::default() },
            Granularity::Filter | Granularity::Weight | Granularity::NM | Granularity::Block | Granularity::Depth => {
                Needs::default()
            }
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        if context.granularity == Granularity::Filter {
            return context.filters(|weight| Ok(shares(weight, context.threshold)));
        }
        let shares = |node| Some(context.measured.activations.get(&node)?.iter().map(|seen| 1.0 - seen.zero_rate()));
        Ok(context.flows(&activations(context.model), shares))
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.each_weight(|weight| {
            let Weight { conv, numbers, .. } = weight;
            let largest = numbers.iter().fold(f32::MIN_POSITIVE, |largest, w| largest.max(w.abs()));
            // Less than the smallest step between shares, and than the number of a block of up to 64 weights.
            let filter = (numbers.len() / conv.out_channels).max(1);
            let shares = shares(weight, context.threshold);
            let score = |(place, w): (usize, &f32)| {
                let own = f64::from(w.abs() / largest);
                let score = match context.granularity {
                    Granularity::Block => f64::from(u8::from(is_there(*w, context.threshold))) + own / 128.0,
                    Granularity::Weight
                    | Granularity::NM
                    | Granularity::Filter
                    | Granularity::Channel
                    | Granularity::Depth => shares[place / filter] + own / (2 * filter) as f64,
                };
                score as f32
            };
            Ok(numbers.iter().enumerate().map(score).collect())
        })
    }

    fn reduce(&self, _: Granularity) -> Reduce {
        Reduce::Mean
    }
}

/// For every filter, the share of its weights that are not zero.
fn shares(Weight { conv, numbers, .. }: Weight<'_>, threshold: f64) -> Vec<f64> {
    let filters = numbers.chunks_exact((numbers.len() / conv.out_channels).max(1));
    let share =
        |filter: &[f32]| filter.iter().filter(|&&w| is_there(w, threshold)).count() as f64 / filter.len() as f64;
    filters.map(share).collect()
}

/// What is no number must not pass for a zero.
fn is_there(weight: f32, threshold: f64) -> bool {
    weight.is_nan() || f64::from(weight.abs()) >= threshold
}
