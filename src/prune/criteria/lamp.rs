//! `lamp`: how large a weight is among those that would stay with it.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, WeightScores},
    criterion::{About, Criterion, Form},
    needs::Data,
};

/// w² divided by the sum of the squares of all weights of its tensor that are not smaller.
pub(super) struct Lamp;

impl Criterion for Lamp {
    fn about(&self) -> About {
        About {
            name: "lamp",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: Granularity::MASKED,
                units: "weights",
                data: Data::None,
                formula: "w² / Σ v² over all v of its tensor that are not smaller; with scope global and normalize none, else as magnitude",
            }],
            paper: "Lee et al. 2021, Layer-adaptive Sparsity for the Magnitude-based Pruning",
        }
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.each_weight(|weight| Ok(scores(weight.numbers)))
    }
}

fn scores(weights: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].abs().total_cmp(&weights[a].abs()));
    let (mut scores, mut sum) = (vec![0.0; weights.len()], 0.0);
    // Those that are as large are not smaller than each other.
    for alike in order.chunk_by(|&a, &b| weights[a].abs() == weights[b].abs()) {
        let square = f64::from(weights[alike[0]]).powi(2);
        sum += square * alike.len() as f64;
        // A tensor of zeros has no share of anything.
        let score = if sum == 0.0 { 0.0 } else { (square / sum) as f32 };
        alike.iter().for_each(|&place| scores[place] = score);
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_is_not_smaller() {
        let found = scores(&[1.0, -3.0, 2.0, -2.0, 0.0]);
        assert_eq!(found, [1.0 / 18.0, 1.0, 4.0 / 17.0, 4.0 / 17.0, 0.0]);
        assert_eq!(scores(&[0.0, 0.0]), [0.0, 0.0]);
        assert!(scores(&[1.0, f32::NAN]).iter().all(|score| score.is_nan()));
    }
}
