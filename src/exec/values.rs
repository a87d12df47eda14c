//! What runs give, and what goes back through them.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{graph::NodeId, model::Tensors};

/// The results of one run.
#[derive(Clone, Debug)]
pub struct Values {
    /// The graph's outputs in order, each (n, channels, h, w).
    pub outputs: Vec<Tensor>,
    /// The outputs of the tapped nodes.
    pub taps: BTreeMap<NodeId, Tensor>,
}

/// Gradients of a loss with respect to what a run gave, where the loss depends on it directly.
#[derive(Clone, Debug, Default)]
pub struct ValueGradients {
    /// For each of the graph's outputs, or `None` where the loss does not depend on it.
    pub outputs: Vec<Option<Tensor>>,
    /// For tapped nodes.
    pub taps: BTreeMap<NodeId, Tensor>,
}

/// What a backward pass gives. What no gradient reaches is absent.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// The gradient of every trained tensor, by name.
    pub tensors: Tensors,
    /// The whole gradient of the loss with respect to the values of the nodes asked for in
    /// [`TrainOptions::gradient_taps`](super::TrainOptions::gradient_taps): by every path from the node to the loss.
    pub taps: BTreeMap<NodeId, Tensor>,
}
