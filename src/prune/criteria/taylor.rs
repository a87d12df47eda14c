//! `taylor`: what the loss would change by, to first order.

use super::{
    super::{error::PruneError, granularity::Granularity},
    context::{Context, Part},
    criterion::{About, Criterion, Form, Strategy},
    needs::{Data, Needs},
};
use crate::{graph::Role, model::Model};

/// (Σ γ·g_γ + β·g_β)² over the normalisations of a coupled channel: the square of the first-order change of the detection
/// loss when they are multiplied by zero, and so the channel removed.
pub(super) struct Taylor;

impl Criterion for Taylor {
    fn about(&self) -> About {
        About {
            name: "taylor",
            aliases: &[],
            strategy: Strategy::Sensitivity,
            forms: &[Form {
                granularities: &[Granularity::Channel],
                units: "batch normalisation",
                data: Data::Labels,
                formula: "(Σ γ·g_γ + β·g_β)² over its batch normalisations, g of the detection loss",
            }],
            paper: "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning",
        }
    }

    fn needs(&self, _: &Model, _: Granularity) -> Needs {
        Needs { gradients: true, ..Needs::default() }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let mut parts = context.first_order(Role::NormScale)?;
        parts.extend(context.first_order(Role::NormShift)?);
        Ok(parts)
    }

    fn finish(&self, _: Granularity, joined: f64) -> f64 {
        joined * joined
    }
}
