//! `residual`: how much a residual branch adds to its input.

use super::{
    super::{depth::branches, error::PruneError, granularity::Granularity, strategy::Strategy},
    context::Context,
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
};
use crate::{graph::NodeId, model::Model};

/// The mean magnitude of what a branch adds over that of what it is added to.
pub(super) struct Residual;

impl Criterion for Residual {
    fn about(&self) -> About {
        About {
            name: "residual",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: Granularity::BRANCHES,
                units: "residual branches",
                data: Data::Images,
                formula: "mean |branch| / mean |input| over images, channels and places",
            }],
            paper: "compare Veit et al. 2016, Residual Networks Behave Like Ensembles",
        }
    }

    fn needs(&self, model: &Model, _: Granularity) -> Needs {
        let ends = branches(model.graph()).into_iter().flat_map(|branch| [branch.input, branch.output]);
        Needs { activations: ends.collect(), ..Needs::default() }
    }

    fn branches(&self, context: &Context) -> Result<Vec<f64>, PruneError> {
        let sum = |node: NodeId| -> Result<f64, PruneError> {
            let name = || context.model.graph().node(node).name.clone();
            let missing = || PruneError::NotFinite { layer: name(), importance: self.about().name };
            let channels = context.measured.activations.get(&node).ok_or_else(missing)?;
            Ok(channels.iter().map(|channel| channel.mean_magnitude()).sum())
        };
        branches(context.model.graph()).iter().map(|branch| Ok(sum(branch.output)? / sum(branch.input)?)).collect()
    }
}
