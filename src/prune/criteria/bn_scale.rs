//! `bn_scale`: the scales of the normalisations.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::Data,
};
use crate::graph::Role;

/// Σ |γ| over the normalisations of a coupled channel.
pub(super) struct BnScale;

impl Criterion for BnScale {
    fn about(&self) -> About {
        About {
            name: "bn_scale",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: &[Granularity::Channel],
                units: "batch normalisation",
                data: Data::None,
                formula: "Σ |γ| over its batch normalisations",
            }],
            paper: "Liu et al. 2017, Network Slimming",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        context.rows(Role::NormScale, f64::abs)
    }
}
