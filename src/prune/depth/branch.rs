//! Finding residual branches.

use std::collections::BTreeSet;

use super::super::error::PruneError;
use crate::{
    graph::{Graph, Node, NodeId, Op, Role},
    nearest::did_you_mean,
};

/// A residual branch: what is computed from a value and added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The module that it is, such as `model.4.m.0`: the name of the sum without a last `.add`.
    pub name: String,
    /// The value that it reads, and is added to.
    pub input: NodeId,
    /// The value that is added.
    pub output: NodeId,
    /// The sum.
    pub add: NodeId,
    /// The nodes that only it needs, ascending; the sum is none of them.
    pub nodes: Vec<NodeId>,
    /// Those of them whose zero makes its output zero: a convolution with its normalisation.
    pub last: Vec<NodeId>,
}

/// The residual branches of a graph that can go, in graph order: sums of a value and of what is computed from that value
/// alone, by layers that nothing else reads, the last of them a convolution with its normalisation and activation.
pub fn branches(graph: &Graph) -> Vec<Branch> {
    let consumers = graph.consumers();
    let sums = graph.nodes().iter().enumerate().filter(|(_, node)| node.op == Op::Add);
    let branch = |(add, node): (NodeId, &Node)| {
        let &[a, b] = &node.inputs[..] else { return None };
        [(a, b), (b, a)].into_iter().find_map(|(input, output)| between(graph, &consumers, [input, output, add]))
    };
    sums.filter_map(branch).collect()
}

/// The branch from `input` to `output` that `add` joins, if it is one.
fn between(graph: &Graph, consumers: &[Vec<NodeId>], [input, output, add]: [NodeId; 3]) -> Option<Branch> {
    let mut nodes = BTreeSet::new();
    let mut open = vec![output];
    while let Some(id) = open.pop() {
        if id == input || !nodes.insert(id) {
            continue;
        }
        let node = graph.node(id);
        let ends = node.inputs.is_empty() || graph.outputs().contains(&id);
        if ends || id < input {
            return None;
        }
        open.extend(&node.inputs);
    }
    let inside = |id: &NodeId| nodes.contains(id) || *id == add;
    if input == output || !nodes.iter().all(|&id| consumers[id].iter().all(inside)) || consumers[output] != [add] {
        return None;
    }
    let name = graph.node(add).name.clone();
    let name = name.strip_suffix(".add").map_or(name.clone(), str::to_owned);
    let last = last(graph, output).filter(|last| last.iter().all(|id| nodes.contains(id)))?;
    Some(Branch { name, input, output, add, nodes: nodes.into_iter().collect(), last })
}

/// The convolution that a value comes from, through its normalisation and activation, with that normalisation.
fn last(graph: &Graph, output: NodeId) -> Option<Vec<NodeId>> {
    let mut last = Vec::new();
    let mut id = output;
    loop {
        let node = graph.node(id);
        match &node.op {
            Op::Conv(_) => {
                last.push(id);
                return Some(last);
            }
            Op::BatchNorm(_) => last.push(id),
            Op::Activation(_) => {}
            Op::Input { .. } | Op::MaxPool(_) | Op::Upsample { .. } | Op::Add | Op::Concat | Op::Slice { .. } => {
                return None;
            }
        }
        id = node.inputs[0];
    }
}

impl Branch {
    /// Its first convolution.
    pub fn layer(&self, graph: &Graph) -> Option<NodeId> {
        self.nodes.iter().copied().find(|&id| graph.node(id).op.owns(Role::Weight))
    }
}

/// The branches of these names.
///
/// # Errors
/// A name of none; names those that there are.
pub(super) fn chosen(graph: &Graph, names: &BTreeSet<String>) -> Result<Vec<Branch>, PruneError> {
    let mut all = branches(graph);
    if let Some(name) = names.iter().find(|name| all.iter().all(|branch| branch.name != **name)) {
        let known: Vec<&str> = all.iter().map(|branch| branch.name.as_str()).collect();
        return Err(PruneError::NoSuchBranch {
            hint: did_you_mean(name, known.iter().copied()),
            known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
            name: name.clone(),
        });
    }
    all.retain(|branch| names.contains(&branch.name));
    Ok(all)
}
