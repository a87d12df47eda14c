//! Which coupled channels a plan removes, and the graph without them.

use super::{
    error::PruneError,
    groups::{ChannelId, Groups},
    layers::no_such_layer,
    plan::Plan,
};
use crate::graph::{Graph, GraphError, NodeId, Op, Role};

/// For every coupled channel of a graph, whether it goes.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    gone: Vec<bool>,
}

impl Removal {
    /// What a plan removes from a graph.
    ///
    /// # Errors
    /// Where the plan names a layer or channel that is not there, that must stay, or is the last of its group.
    pub(super) fn of(plan: &Plan, graph: &Graph, groups: &Groups) -> Result<Self, PruneError> {
        let mut gone = vec![false; groups.count()];
        for (layer, plan) in &plan.layers {
            let misfit = |reason: String| PruneError::Misfit { layer: layer.clone(), reason };
            let produces = |&id: &NodeId| graph.node(id).op.owns(Role::Weight);
            let Some(id) = graph.find(layer).filter(produces) else {
                return Err(no_such_layer(graph, layer));
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
                return Err(PruneError::Misfit { layer: graph.node(group.layer).name.clone(), reason });
            }
        }
        Ok(Self { gone })
    }

    /// Whether a coupled channel goes.
    pub(super) fn removes(&self, channel: ChannelId) -> bool {
        self.gone[channel]
    }

    /// The channels of a value that stay, by the coupled channels that they belong to.
    pub(super) fn kept(&self, labels: &[ChannelId]) -> Vec<usize> {
        labels.iter().enumerate().filter(|(_, coupled)| !self.gone[**coupled]).map(|(channel, _)| channel).collect()
    }

    /// The graph without the channels that go.
    pub(super) fn graph(&self, graph: &Graph, groups: &Groups) -> Result<Graph, GraphError> {
        let kept = |id: usize| self.kept(groups.labels(id)).len();
        let mut pruned = graph.clone();
        for (id, node) in graph.nodes().iter().enumerate() {
            match pruned.op_mut(id) {
                Op::Conv(conv) => {
                    let (reads, gives) = (kept(node.inputs[0]), kept(id));
                    if conv.groups > 1 {
                        conv.groups = reads / (conv.in_channels / conv.groups);
                    }
                    (conv.in_channels, conv.out_channels) = (reads, gives);
                }
                Op::BatchNorm(norm) => norm.channels = kept(id),
                Op::Slice { start, len } => {
                    let before = &groups.labels(node.inputs[0])[..*start];
                    (*start, *len) = (self.kept(before).len(), kept(id));
                }
                Op::Input { .. } | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } | Op::Add | Op::Concat => {}
            }
        }
        pruned.validate()?;
        Ok(pruned)
    }
}
