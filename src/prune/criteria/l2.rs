//! `l2`: the norm of the filters.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::Data,
};
use crate::graph::Role;

/// √Σ w² over the filters of a coupled channel.
pub(super) struct L2;

impl Criterion for L2 {
    fn about(&self) -> About {
        About {
            name: "l2",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: Granularity::REMOVED,
                units: "filters",
                data: Data::None,
                formula: "√Σ w² over its filters",
            }],
            paper: "He et al. 2018, Soft Filter Pruning",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        context.rows(Role::Weight, |w| w * w)
    }

    fn finish(&self, _: Granularity, joined: f64) -> f64 {
        joined.sqrt()
    }
}
