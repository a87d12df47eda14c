//! Which nodes run as one step.

use std::collections::HashSet;

use super::{error::ExecError, observer::Observer};
use crate::graph::{Activation, Graph, NodeId, Op};

/// One or more nodes that run as one step. A step's value is the value of its last node; the values in between are
/// never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A node by itself.
    Single(NodeId),
    /// A convolution with what follows it; its normalisation is folded into its weights.
    ConvBlock {
        conv: NodeId,
        norm: Option<NodeId>,
        /// A SiLU.
        activation: Option<NodeId>,
    },
    /// A normalisation with the activation that follows it.
    NormBlock { norm: NodeId, activation: Option<NodeId> },
}

impl Step {
    /// The node whose value the step makes.
    pub(super) fn output(self) -> NodeId {
        match self {
            Step::Single(node) => node,
            Step::ConvBlock { conv, norm, activation } => activation.or(norm).unwrap_or(conv),
            Step::NormBlock { norm, activation } => activation.unwrap_or(norm),
        }
    }

    /// The activation that runs with the step's first operation.
    pub(super) fn activation(self, graph: &Graph) -> Option<Activation> {
        let (Step::ConvBlock { activation, .. } | Step::NormBlock { activation, .. }) = self else { return None };
        match activation.map(|id| &graph.node(id).op) {
            Some(Op::Activation(activation)) => Some(*activation),
            _ => None,
        }
    }

    /// Whether a convolution runs with its normalisation and its activation.
    pub(super) fn is_fused(self) -> bool {
        matches!(self, Step::ConvBlock { norm: Some(_), activation: Some(_), .. })
    }

    /// The nodes whose values are never made.
    fn inside(self) -> impl Iterator<Item = NodeId> {
        let nodes = match self {
            Step::Single(_) => [None, None],
            Step::ConvBlock { conv, norm, activation: _ } => [Some(conv), norm],
            Step::NormBlock { norm, activation: _ } => [Some(norm), None],
        };
        nodes.into_iter().flatten().filter(move |&id| id != self.output())
    }

    /// The node whose inputs the step reads.
    pub(super) fn first(self) -> NodeId {
        match self {
            Step::Single(node) => node,
            Step::ConvBlock { conv, .. } => conv,
            Step::NormBlock { norm, .. } => norm,
        }
    }
}

/// The steps of inference from the values of `starts`: convolutions take their normalisation and activation with them.
/// The values of `outside` are read from outside the run too.
pub(super) fn for_inference(
    graph: &Graph,
    needed: &[bool],
    starts: &[NodeId],
    outside: impl Iterator<Item = NodeId>,
) -> Vec<Step> {
    let readers = Readers { graph, outside: outside.chain(starts.iter().copied()).collect() };
    steps(needed, |id| match graph.node(id).op {
        _ if starts.contains(&id) => Step::Single(id),
        Op::Conv(_) => {
            let norm = readers.only(id).filter(|&next| matches!(graph.node(next).op, Op::BatchNorm(_)));
            let silu = |next: &NodeId| graph.node(*next).op == Op::Activation(Activation::Silu);
            Step::ConvBlock { conv: id, norm, activation: readers.only(norm.unwrap_or(id)).filter(silu) }
        }
        Op::BatchNorm(_) => readers.norm_block(id),
        Op::Input { .. } | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } => Step::Single(id),
        Op::Add | Op::Concat | Op::Slice { .. } => Step::Single(id),
    })
}

/// The steps of training: normalisations take their activation with them, convolutions stay by themselves, since the
/// backward pass needs what they give. The values of `outside` are read from outside the run too.
pub(super) fn for_training(graph: &Graph, outside: impl Iterator<Item = NodeId>) -> Vec<Step> {
    let readers = Readers { graph, outside: outside.collect() };
    steps(&vec![true; graph.nodes().len()], |id| match graph.node(id).op {
        Op::BatchNorm(_) => readers.norm_block(id),
        Op::Input { .. } | Op::Conv(_) | Op::Activation(_) | Op::MaxPool(_) => Step::Single(id),
        Op::Upsample { .. } | Op::Add | Op::Concat | Op::Slice { .. } => Step::Single(id),
    })
}

/// Checks that an observer wants no value that is never made.
///
/// # Errors
/// Names the first such layer.
pub(super) fn check_observed(
    graph: &Graph,
    steps: impl Iterator<Item = Step>,
    observer: &dyn Observer,
) -> Result<(), ExecError> {
    match steps.flat_map(Step::inside).find(|&id| observer.wants(id)) {
        Some(id) => Err(ExecError::NotObserved { layer: graph.node(id).name.clone() }),
        None => Ok(()),
    }
}

fn steps(needed: &[bool], step_of: impl Fn(NodeId) -> Step) -> Vec<Step> {
    let mut taken = HashSet::new();
    let mut steps = Vec::new();
    for (id, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
        if taken.contains(&id) {
            continue;
        }
        let step = step_of(id);
        match step {
            Step::Single(_) => {}
            Step::ConvBlock { norm, activation, .. } => taken.extend(norm.into_iter().chain(activation)),
            Step::NormBlock { activation, .. } => taken.extend(activation),
        }
        steps.push(step);
    }
    steps
}

/// Who reads each value.
struct Readers<'a> {
    graph: &'a Graph,
    outside: HashSet<NodeId>,
}

impl Readers<'_> {
    /// The one reader of a value that no one else needs.
    fn only(&self, id: NodeId) -> Option<NodeId> {
        self.graph.sole_reader(id).filter(|_| !self.outside.contains(&id))
    }

    fn norm_block(&self, norm: NodeId) -> Step {
        let is_activation = |next: &NodeId| matches!(self.graph.node(*next).op, Op::Activation(_));
        Step::NormBlock { norm, activation: self.only(norm).filter(is_activation) }
    }
}
