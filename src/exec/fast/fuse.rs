//! Which nodes run as one step.

use std::collections::HashSet;

use espalier_kernels::elementwise;

use super::function;
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
    pub(super) fn activation(self, graph: &Graph) -> elementwise::Activation {
        let (Step::ConvBlock { activation, .. } | Step::NormBlock { activation, .. }) = self else {
            return elementwise::Activation::None;
        };
        match activation.map(|id| &graph.node(id).op) {
            Some(Op::Activation(activation)) => function(*activation),
            _ => elementwise::Activation::None,
        }
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

/// The steps of inference: convolutions take their normalisation and activation with them.
pub(super) fn for_inference(graph: &Graph, taps: &[NodeId]) -> Vec<Step> {
    let readers = Readers::new(graph, taps);
    steps(graph, |id| match graph.node(id).op {
        Op::Conv(_) => {
            let norm = readers.only(id).filter(|&next| matches!(graph.node(next).op, Op::BatchNorm(_)));
            let silu = |next: &NodeId| graph.node(*next).op == Op::Activation(Activation::Silu);
            Step::ConvBlock { conv: id, norm, activation: readers.only(norm.unwrap_or(id)).filter(silu) }
        }
        Op::BatchNorm(_) => readers.norm_block(graph, id),
        _ => Step::Single(id),
    })
}

/// The steps of training: normalisations take their activation with them, convolutions stay by themselves, since the
/// way back needs what they give.
pub(super) fn for_training(graph: &Graph, taps: &[NodeId]) -> Vec<Step> {
    let readers = Readers::new(graph, taps);
    steps(graph, |id| match graph.node(id).op {
        Op::BatchNorm(_) => readers.norm_block(graph, id),
        _ => Step::Single(id),
    })
}

fn steps(graph: &Graph, step_of: impl Fn(NodeId) -> Step) -> Vec<Step> {
    let mut taken = HashSet::new();
    let mut steps = Vec::new();
    for id in 0..graph.nodes().len() {
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

/// Who reads each value; outputs and taps are read from outside.
struct Readers {
    readers: Vec<Vec<NodeId>>,
    from_outside: HashSet<NodeId>,
}

impl Readers {
    fn new(graph: &Graph, taps: &[NodeId]) -> Self {
        Self { readers: graph.consumers(), from_outside: graph.outputs().iter().chain(taps).copied().collect() }
    }

    /// The one reader of a value that no one else needs.
    fn only(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id][..] {
            [reader] if !self.from_outside.contains(&id) => Some(reader),
            _ => None,
        }
    }

    fn norm_block(&self, graph: &Graph, norm: NodeId) -> Step {
        let is_activation = |next: &NodeId| matches!(graph.node(*next).op, Op::Activation(_));
        Step::NormBlock { norm, activation: self.only(norm).filter(is_activation) }
    }
}
