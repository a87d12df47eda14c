//! `magnitude`: how large a weight is.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, WeightScores},
    criterion::{About, Criterion, Form},
    needs::Data,
};

/// |w|.
pub(super) struct Magnitude;

impl Criterion for Magnitude {
    fn about(&self) -> About {
        About {
            name: "magnitude",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form { granularities: Granularity::MASKED, units: "weights", data: Data::None, formula: "|w|" }],
            paper: "Han et al. 2015, Learning both Weights and Connections",
        }
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.each_weight(|weight| Ok(weight.numbers.iter().map(|w| w.abs()).collect()))
    }
}
