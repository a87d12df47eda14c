//! `group_l2`: the norm of all weights that go together.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::Data,
};
use crate::graph::Role;

/// √Σ w² over all that goes with a coupled channel: its filters, and the columns in which the layers behind read it.
pub(super) struct GroupL2;

impl Criterion for GroupL2 {
    fn about(&self) -> About {
        About {
            name: "group_l2",
            aliases: &["group_norm"],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: &[Granularity::Channel],
                units: "filters",
                data: Data::None,
                formula: "√Σ w² over its filters and its readers' columns",
            }],
            paper: "Fang et al. 2023, DepGraph",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let mut parts = context.rows(Role::Weight, |w| w * w)?;
        parts.extend(context.columns(|w| w * w)?);
        Ok(parts)
    }

    fn finish(&self, _: Granularity, joined: f64) -> f64 {
        joined.sqrt()
    }
}
