//! Where a run without some channels of a group begins, and that run.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::super::{
    apply::zeroed,
    error::PruneError,
    groups::{ChannelId, Group, Groups},
};
use crate::{
    exec::{Backend, Inference, InferenceOptions, frontier},
    graph::{Graph, Node, NodeId, Op},
    model::Model,
};

/// A group in its network: where its channels first appear, and where more of them are made from what depends on those.
///
/// A run without some of the channels begins behind the first appearances, whose values are known: the channels are zero
/// there. Layers that make more of the same channels further on (in a residual stream) have their filters zeroed.
pub(super) struct Cut<'a> {
    model: &'a Model,
    groups: &'a Groups,
    group: &'a Group,
    /// The values with which the channels appear that depend on no other value of theirs.
    first: Vec<NodeId>,
    /// Layers of the group that depend on those.
    later: Vec<NodeId>,
    /// The values with which a run begins.
    starts: Vec<NodeId>,
}

impl<'a> Cut<'a> {
    /// Of one of a model's groups.
    pub(super) fn of(model: &'a Model, groups: &'a Groups, group: &'a Group) -> Self {
        let graph = model.graph();
        let layers = || group.producers.iter().chain(&group.norms).copied();
        let ends: Vec<NodeId> = layers().map(|layer| end(graph, layer)).collect();
        let mut depends = vec![false; graph.nodes().len()];
        for (id, node) in graph.nodes().iter().enumerate() {
            depends[id] = node.inputs.iter().any(|input| depends[*input] || ends.contains(input));
        }
        let mut first: Vec<NodeId> = ends.iter().copied().filter(|&end| !depends[end]).collect();
        first.sort_unstable();
        first.dedup();
        let later = layers().zip(&ends).filter(|(_, end)| depends[**end]).map(|(layer, _)| layer).collect();
        let reads_first =
            |(id, node): (NodeId, &Node)| node.inputs.iter().any(|input| first.contains(input)).then_some(id);
        let readers: Vec<NodeId> = graph.nodes().iter().enumerate().filter_map(reads_first).collect();
        let starts = frontier(graph, &readers);
        Self { model, groups, group, first, later, starts }
    }

    /// The nodes whose values the network as it is must give.
    pub(super) fn starts(&self) -> &[NodeId] {
        &self.starts
    }

    /// Makes the network behind the first appearances ready; none where it depends on which channels go.
    ///
    /// # Errors
    /// Where tensors cannot be read.
    pub(super) fn network(&self) -> Result<Option<Inference>, PruneError> {
        if self.later.is_empty() { self.prepare(self.model).map(Some) } else { Ok(None) }
    }

    fn prepare(&self, model: &Model) -> Result<Inference, PruneError> {
        let options = InferenceOptions { starts: self.starts.clone(), ..InferenceOptions::default() };
        Ok(Inference::with_options(Backend::for_device(&model.device()), model, options)?)
    }

    /// The network's outputs for images without the coupled channels at these places of the group. `known` holds the values
    /// of [`Cut::starts`] for the images; `network` is what [`Cut::network`] gave.
    ///
    /// # Errors
    /// A network that does not run.
    pub(super) fn run(
        &self,
        network: Option<&Inference>,
        images: &Tensor,
        known: &BTreeMap<NodeId, Tensor>,
        places: &[usize],
    ) -> Result<Vec<Tensor>, PruneError> {
        let gone: Vec<ChannelId> = places.iter().map(|&place| self.group.coupled[place]).collect();
        let removes = |channel: ChannelId| gone.contains(&channel);
        let mut starts = BTreeMap::new();
        for &id in &self.starts {
            let value = match self.first.contains(&id) {
                true => {
                    let keep: Vec<f32> =
                        self.groups.labels(id).iter().map(|&label| if removes(label) { 0.0 } else { 1.0 }).collect();
                    let keep = Tensor::from_vec(keep.clone(), (1, keep.len(), 1, 1), images.device())?;
                    known[&id].broadcast_mul(&keep)?
                }
                false => known[&id].clone(),
            };
            starts.insert(id, value);
        }
        match network {
            Some(network) => Ok(network.run_from(images, &starts)?.outputs),
            None => {
                let later = |id: NodeId| self.later.contains(&id);
                let model = zeroed(self.model, self.groups, later, removes)?;
                Ok(self.prepare(&model)?.run_from(images, &starts)?.outputs)
            }
        }
    }

    /// The same outputs without anything known: the whole network with zeroed filters.
    ///
    /// # Errors
    /// A network that does not run.
    pub(super) fn run_whole(&self, images: &Tensor, places: &[usize]) -> Result<Vec<Tensor>, PruneError> {
        let gone: Vec<ChannelId> = places.iter().map(|&place| self.group.coupled[place]).collect();
        let model = zeroed(self.model, self.groups, |_| true, |channel| gone.contains(&channel))?;
        Ok(Inference::new(&model, &[])?.run(images)?.outputs)
    }
}

/// The last node of a layer: behind the normalisation and the activation that alone follow it.
fn end(graph: &Graph, layer: NodeId) -> NodeId {
    let follows = |next: &NodeId| matches!(graph.node(*next).op, Op::BatchNorm(_) | Op::Activation(_));
    let mut end = layer;
    while let Some(next) = graph.sole_reader(end).filter(follows) {
        end = next;
    }
    end
}
