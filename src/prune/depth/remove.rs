//! Removing residual branches: graph to graph, tensors to tensors.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::{super::error::PruneError, branch::chosen};
use crate::{
    graph::{Graph, GraphError, NodeId, Op, Role},
    model::{Model, Tensors},
};

/// A graph without some of its branches, and what becomes of the columns that read a concatenation.
pub(in crate::prune) struct Rewrite {
    /// The smaller graph.
    pub graph: Graph,
    /// By name of a weight: for each column that its filters had, the one that it is added to.
    columns: BTreeMap<String, Vec<usize>>,
}

impl Rewrite {
    /// Without the branches of these names.
    ///
    /// # Errors
    /// A name of no branch; a graph that does not fit together.
    pub(in crate::prune) fn of(graph: &Graph, names: &BTreeSet<String>) -> Result<Self, PruneError> {
        let branches = chosen(graph, names)?;
        let channels = graph.channels()?;
        let consumers = graph.consumers();
        let gone: BTreeSet<NodeId> = branches.iter().flat_map(|branch| branch.nodes.iter().copied()).collect();
        let sums: BTreeMap<NodeId, NodeId> = branches.iter().map(|branch| (branch.add, branch.input)).collect();
        // The inputs of sums come earlier, so that each is resolved when it is met.
        let mut place: Vec<Option<NodeId>> = vec![None; channels.len()];
        let missing = |id: NodeId| GraphError::BadInput { name: graph.node(id).name.clone(), input: id };
        let mut columns = BTreeMap::new();
        let mut smaller = Graph::new();
        for (id, node) in graph.nodes().iter().enumerate() {
            if let Some(&input) = sums.get(&id) {
                place[id] = place[input];
                continue;
            }
            if gone.contains(&id) {
                continue;
            }
            let inputs = node.inputs.iter().map(|&input| place[input].ok_or_else(|| missing(id)));
            let mut inputs = inputs.collect::<Result<Vec<NodeId>, _>>()?;
            let moved: Vec<bool> = node.inputs.iter().map(|input| sums.contains_key(input)).collect();
            let joined = (node.op == Op::Concat && columns_add(graph, &consumers[id], id))
                .then(|| merged(&inputs, &moved, &node.inputs, &channels))
                .flatten();
            if let Some((kept, map)) = joined {
                inputs = kept;
                let weights = consumers[id].iter().map(|&reader| graph.node(reader).tensor_name("weight"));
                columns.extend(weights.map(|weight| (weight, map.clone())));
            }
            let mut op = node.op.clone();
            if let (Op::Conv(conv), Some(map)) = (&mut op, columns.get(&node.tensor_name("weight"))) {
                conv.in_channels = map.iter().max().map_or(0, |last| last + 1);
            }
            place[id] = Some(smaller.add(node.name.clone(), op, &inputs));
        }
        let outputs = graph.outputs().iter().map(|&id| place[id].ok_or_else(|| missing(id)));
        smaller.set_outputs(outputs.collect::<Result<_, _>>()?);
        smaller.validate()?;
        Ok(Self { graph: smaller, columns })
    }

    /// The tensors, or masks, of the smaller graph; columns that fall together are joined by `join`.
    fn tensors(
        &self,
        tensors: &Tensors,
        join: impl Fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensors, PruneError> {
        let mut left = Tensors::new();
        for (_, name, parameter) in self.graph.parameters() {
            let Some(tensor) = tensors.get(&name) else { continue };
            let tensor = match (self.columns.get(&name), parameter.role, parameter.input_axis()) {
                (Some(map), Role::Weight, Some(axis)) => merge(tensor, axis, map, &join)?,
                _ => tensor.clone(),
            };
            left.insert(name, tensor);
        }
        Ok(left)
    }
}

/// Whether everything that reads a concatenation has a column for each of its channels.
fn columns_add(graph: &Graph, readers: &[NodeId], id: NodeId) -> bool {
    let ungrouped = |&reader: &NodeId| graph.node(reader).op.as_conv().is_some_and(|conv| conv.groups == 1);
    !graph.outputs().contains(&id) && !readers.is_empty() && readers.iter().all(ungrouped)
}

/// The inputs of a concatenation without those that have become the same as another, and for each channel that it had the
/// place of the one that stands for it. Nothing where none has.
fn merged(
    inputs: &[NodeId],
    moved: &[bool],
    before: &[NodeId],
    channels: &[usize],
) -> Option<(Vec<NodeId>, Vec<usize>)> {
    let (mut kept, mut starts, mut map, mut width) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (at, &input) in inputs.iter().enumerate() {
        let count = channels[before[at]];
        // Only what a removed sum became: a value that a network concatenates twice by itself stays.
        let twin = (0..at).rev().find(|&earlier| inputs[earlier] == input && (moved[at] || moved[earlier]));
        let start = match twin {
            Some(twin) => starts[twin],
            None => {
                kept.push(input);
                width += count;
                width - count
            }
        };
        starts.push(start);
        map.extend(start..start + count);
    }
    (kept.len() < inputs.len()).then_some((kept, map))
}

/// A weight whose columns are joined to the places that `map` says.
fn merge(
    weight: &Tensor,
    axis: usize,
    map: &[usize],
    join: impl Fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
) -> Result<Tensor, PruneError> {
    let mut columns: Vec<Option<Tensor>> = vec![None; map.iter().max().map_or(0, |last| last + 1)];
    for (column, &to) in map.iter().enumerate() {
        let numbers = weight.narrow(axis, column, 1)?;
        columns[to] = Some(match columns[to].take() {
            Some(known) => join(&known, &numbers)?,
            None => numbers,
        });
    }
    let columns: Vec<Tensor> = columns.into_iter().flatten().collect();
    Ok(Tensor::cat(&columns, axis)?.contiguous()?)
}

/// A new model without the branches of these names; its outputs are those of the model with the branches at zero.
///
/// # Errors
/// A name of no branch, or a model that does not fit together afterwards.
pub(in crate::prune) fn without(model: &Model, names: &BTreeSet<String>) -> Result<Model, PruneError> {
    if names.is_empty() {
        return Ok(model.clone());
    }
    let rewrite = Rewrite::of(model.graph(), names)?;
    let tensors = rewrite.tensors(model.tensors(), |a, b| a + b)?;
    // A joined weight is free where one of both was.
    let masks = rewrite.tensors(model.masks(), |a, b| a.maximum(b))?;
    let smaller = Model::new(rewrite.graph, tensors, model.detector().clone(), model.provenance().clone())?;
    Ok(if masks.is_empty() { smaller } else { smaller.with_masks(masks)? })
}

/// The same model with the branches of these names at zero: the filters, biases, scales and shifts of their last layers.
///
/// # Errors
/// A name of no branch.
pub(in crate::prune) fn zeroed(model: &Model, names: &BTreeSet<String>) -> Result<Model, PruneError> {
    let last: BTreeSet<NodeId> = chosen(model.graph(), names)?.into_iter().flat_map(|branch| branch.last).collect();
    let mut tensors = model.tensors().clone();
    for (id, name, parameter) in model.graph().parameters() {
        if last.contains(&id) && parameter.role.is_trainable() {
            let zeros = model.tensors()[&name].zeros_like()?;
            tensors.insert(name, zeros);
        }
    }
    Ok(model.with_tensors(tensors)?)
}
