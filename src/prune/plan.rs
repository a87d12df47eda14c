//! A plan: which channels go. It can be printed, saved, edited and replayed.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    PruneError,
    groups::{ChannelId, Groups},
    options::no_such_layer,
};
use crate::{
    graph::{Cost, NodeId, Op},
    io::atomic_write,
    model::Model,
};

/// Which channels of which layers go. What is coupled to them (normalisations, residual partners, the columns of readers)
/// follows when the plan is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the model that it was made for.
    pub model: String,
    /// What was asked for, in words.
    pub asked: String,
    /// Side of the images that MACs are counted for.
    pub size: usize,
    /// By name of a convolution: what happens to its filters.
    pub layers: BTreeMap<String, LayerPlan>,
}

/// What happens to a convolution's filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPlan {
    /// Filters it has.
    pub channels: usize,
    /// Filters that go, by index.
    pub remove: Vec<usize>,
}

/// What a plan does to one convolution, the normalisation behind it included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanRow {
    /// Name of the convolution.
    pub layer: String,
    /// Channels it reads, before and after.
    pub inputs: [usize; 2],
    /// Filters, before and after.
    pub channels: [usize; 2],
    /// Parameters, before and after.
    pub params: [u64; 2],
    /// MACs, before and after.
    pub macs: [u64; 2],
}

/// What a plan does, layer by layer and in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// A row for every convolution, in graph order.
    pub rows: Vec<PlanRow>,
    /// Side of the images that MACs are counted for.
    pub size: usize,
    /// Cost of the whole network as it is.
    pub before: Cost,
    /// Cost of the whole network once the plan is applied.
    pub after: Cost,
}

impl PlanReport {
    /// Share of the MACs that stays.
    pub fn macs_share(&self) -> f64 {
        self.after.macs as f64 / self.before.macs.max(1) as f64
    }

    /// Share of the parameters that stays.
    pub fn params_share(&self) -> f64 {
        self.after.params as f64 / self.before.params.max(1) as f64
    }
}

impl Plan {
    /// What applying the plan would do, without doing it.
    ///
    /// # Errors
    /// Where the plan does not fit the model.
    pub fn report(&self, model: &Model) -> Result<PlanReport, PruneError> {
        let graph = model.graph();
        let pruned = super::apply::prune_graph(graph, &Groups::of(graph)?, &self.removed(model)?)?;
        let image = [self.size; 2];
        let (before, after) = (graph.costs(image)?, pruned.costs(image)?);
        let consumers = graph.consumers();
        let row = |(id, node): (NodeId, &crate::graph::Node)| {
            let (Op::Conv(old), Op::Conv(new)) = (&node.op, &pruned.node(id).op) else { return None };
            let norms = consumers[id].iter().filter(|&&reader| matches!(graph.node(reader).op, Op::BatchNorm(_)));
            let params = |costs: &[Cost]| costs[id].params + norms.clone().map(|&norm| costs[norm].params).sum::<u64>();
            Some(PlanRow {
                layer: node.name.clone(),
                inputs: [old.in_channels, new.in_channels],
                channels: [old.out_channels, new.out_channels],
                params: [params(&before), params(&after)],
                macs: [before[id].macs, after[id].macs],
            })
        };
        let sum = |costs: &[Cost]| costs.iter().fold(Cost::default(), |sum, &cost| sum + cost);
        Ok(PlanReport {
            rows: graph.nodes().iter().enumerate().filter_map(row).collect(),
            size: self.size,
            before: sum(&before),
            after: sum(&after),
        })
    }

    /// For every coupled channel of the model, whether it goes.
    ///
    /// # Errors
    /// Where the plan names a layer or channel that is not there, that must stay, or that is the last of its group.
    pub(super) fn removed(&self, model: &Model) -> Result<Removed, PruneError> {
        let groups = Groups::of(model.graph())?;
        let mut gone = vec![false; groups.count()];
        for (layer, plan) in &self.layers {
            let misfit = |reason: String| PruneError::Misfit { layer: layer.clone(), reason };
            let is_conv = |node: &&crate::graph::Node| matches!(node.op, Op::Conv(_));
            let Some(id) = model.graph().find(layer).filter(|&id| is_conv(&model.graph().node(id))) else {
                return Err(no_such_layer(model.graph(), layer));
            };
            let labels = groups.labels(id);
            if labels.len() != plan.channels {
                let [planned, found] = [plan.channels, labels.len()];
                return Err(misfit(format!("the plan is for {planned} channels, this model's layer has {found}")));
            }
            for &channel in &plan.remove {
                let Some(&coupled) = labels.get(channel) else {
                    return Err(misfit(format!(
                        "channel {channel} is to go, but the last one is {}",
                        labels.len() - 1
                    )));
                };
                if groups.group_of(coupled).is_none() {
                    return Err(misfit(format!(
                        "channel {channel} is to go, but it is tied to an output of the network and must stay"
                    )));
                }
                gone[coupled] = true;
            }
        }
        for group in groups.all() {
            if group.coupled.iter().all(|&channel| gone[channel]) {
                let reason = format!("all channels of {} are to go; at least one must stay", group.name);
                return Err(PruneError::Misfit { layer: model.graph().node(group.layer).name.clone(), reason });
            }
        }
        Ok(Removed(gone))
    }

    /// Writes the plan as JSON; the file appears whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PruneError> {
        let whole = atomic_write(path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            file.write_all(b"\n")
        });
        Ok(whole?)
    }

    /// Reads a plan that [`Plan::save`] wrote, or that was edited since.
    ///
    /// # Errors
    /// Where the file cannot be read or is no plan; says where.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PruneError> {
        let path = path.as_ref();
        let fail = |reason: String| PruneError::File { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| fail(format!("it is no plan: {error}")))
    }
}

/// For every coupled channel, whether it goes.
#[derive(Clone, Debug)]
pub(super) struct Removed(pub(super) Vec<bool>);

impl Removed {
    /// The channels of a value that stay.
    pub(super) fn kept(&self, labels: &[ChannelId]) -> Vec<usize> {
        labels.iter().enumerate().filter(|(_, coupled)| !self.0[**coupled]).map(|(channel, _)| channel).collect()
    }
}
