//! `l1`: sums of weights' magnitudes.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::Data,
};
use crate::graph::Role;

/// Σ |w| over the filters of a coupled channel.
pub(super) struct L1;

impl Criterion for L1 {
    fn about(&self) -> About {
        About {
            name: "l1",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: Granularity::REMOVED,
                units: "filters",
                data: Data::None,
                formula: "Σ |w| over its filters",
            }],
            paper: "Li et al. 2017, Pruning Filters for Efficient ConvNets",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        context.rows(Role::Weight, f64::abs)
    }
}
