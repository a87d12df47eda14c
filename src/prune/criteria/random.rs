//! `random`: chance.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    super::{depth::branches, error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, WeightScores},
    criterion::{About, Criterion, Form},
    needs::Data,
};

/// Uniform noise from the seed.
pub(super) struct Random;

impl Criterion for Random {
    fn about(&self) -> About {
        About {
            name: "random",
            aliases: &[],
            strategy: Strategy::Control,
            forms: &[
                Form {
                    granularities: Granularity::REMOVED,
                    units: "channels",
                    data: Data::None,
                    formula: "uniform noise from the seed",
                },
                Form {
                    granularities: Granularity::BRANCHES,
                    units: "residual branches",
                    data: Data::None,
                    formula: "uniform noise from the seed for every branch",
                },
                Form {
                    granularities: Granularity::MASKED,
                    units: "weights",
                    data: Data::None,
                    formula: "uniform noise from the seed for every weight",
                },
            ],
            paper: "what every other criterion must beat",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let mut random = ChaCha8Rng::seed_from_u64(context.seed);
        let part = |group: &super::super::groups::Group| {
            let scores = group.coupled.iter().map(|_| random.random::<f64>()).collect();
            Part { value: None, channels: group.coupled.clone(), scores }
        };
        Ok(context.groups.all().iter().map(part).collect())
    }

    fn branches(&self, context: &Context) -> Result<Vec<f64>, PruneError> {
        let mut random = ChaCha8Rng::seed_from_u64(context.seed);
        Ok(branches(context.model.graph()).iter().map(|_| random.random::<f64>()).collect())
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.each_weight(|weight| {
            let mut random = ChaCha8Rng::seed_from_u64(context.seed);
            random.set_stream(weight.node as u64);
            Ok(weight.numbers.iter().map(|_| random.random::<f32>()).collect())
        })
    }
}
