//! `zero_rate`: how often a channel is zero.

use super::{
    super::{error::PruneError, granularity::Granularity},
    context::{Context, Part},
    criterion::{About, Criterion, Form, Strategy},
    needs::{Data, Needs},
    reduce::Reduce,
};
use crate::{graph::Role, model::Model};

/// The share of a channel's activations that are not zero: 1 − APoZ, the average percentage of zeros. An activation
/// function without an exact zero, such as SiLU, counts what is below 0.01 of the layer's root mean square.
pub(super) struct ZeroRate;

impl Criterion for ZeroRate {
    fn about(&self) -> About {
        About {
            name: "zero_rate",
            aliases: &["apoz"],
            strategy: Strategy::Sparsity,
            forms: &[Form {
                granularities: &[Granularity::Channel],
                units: "activations",
                data: Data::Images,
                formula: "share of its activations that are not zero (SiLU: |a| ≥ 0.01 rms), mean over its layers",
            }],
            paper: "Hu et al. 2016, Network Trimming (APoZ)",
        }
    }

    fn needs(&self, model: &Model, _: Granularity) -> Needs {
        let filters = model.graph().owners(Role::Weight);
        Needs { activations: filters.map(|id| model.unit_output(id)).collect(), ..Needs::default() }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let share = |channel: &super::activations::ChannelActivations| 1.0 - channel.zero_rate();
        let part = |(&value, channels): (_, &Vec<_>)| context.part(value, channels.iter().map(share).collect());
        Ok(context.measured.activations.iter().map(part).collect())
    }

    fn reduce(&self) -> Reduce {
        Reduce::Mean
    }
}
