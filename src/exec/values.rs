//! What runs give, and what goes back through them.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::{
    graph::{Graph, NodeId, Shape},
    model::Tensors,
};

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

/// What a backend keeps of a node's output while a graph runs.
pub(super) trait RunValue: Sized {
    /// A value of that shape that is there already.
    ///
    /// # Errors
    /// Where the tensor's numbers cannot be read.
    fn of(shape: Shape, tensor: &Tensor) -> Result<Self>;

    /// The tensor that others see: always there for images, outputs, taps and what is observed.
    fn tensor(&self) -> Option<&Tensor>;

    /// The tensor that others see.
    ///
    /// # Errors
    /// Where the value is in a buffer of the run's own.
    fn shared(&self) -> Result<&Tensor> {
        self.tensor().ok_or_else(|| candle_core::Error::Msg("a value that is to be seen is in no tensor".into()))
    }
}

impl RunValue for Tensor {
    fn of(_: Shape, tensor: &Tensor) -> Result<Self> {
        Ok(tensor.clone())
    }

    fn tensor(&self) -> Option<&Tensor> {
        Some(self)
    }
}

/// Of what is kept for each node, that of one.
///
/// # Errors
/// Where it was not computed or not kept.
pub(super) fn kept<'v, V>(graph: &Graph, values: &'v [Option<V>], id: NodeId) -> Result<&'v V> {
    let missing = || candle_core::Error::Msg(format!("the value of `{}` is not there", graph.node(id).name));
    values[id].as_ref().ok_or_else(missing)
}

/// Of what is kept for each node, that of a node's inputs, in order.
///
/// # Errors
/// Where one was not computed or not kept.
pub(super) fn inputs<'v, V>(graph: &Graph, values: &'v [Option<V>], id: NodeId) -> Result<Vec<&'v V>> {
    graph.node(id).inputs.iter().map(|&input| kept(graph, values, input)).collect()
}
