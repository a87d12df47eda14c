//! Whether what a run is given fits the graph.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    error::ExecError,
    values::{ValueGradients, Values},
};
use crate::graph::{Graph, NodeId, Op, Shape};

/// The shape of every value of a run, (channels, h, w), and how many images there are.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    pub(super) batch: usize,
    pub(super) of: Vec<Shape>,
}

impl Shapes {
    /// Those for such images.
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub(super) fn new(graph: &Graph, images: &Tensor) -> Result<Self, ExecError> {
        let found = images.dims().to_vec();
        let fail = |reason: String| Err(ExecError::Images { found: found.clone(), reason });
        match *images.dims() {
            [0, ..] => fail("the batch is empty".into()),
            [batch, channels, height, width] => {
                let expected = graph.nodes().iter().find_map(|node| match node.op {
                    Op::Input { channels: expected } if expected != channels => Some(expected),
                    _ => None,
                });
                match (expected, graph.shapes([height, width])) {
                    (Some(expected), _) => fail(format!("the network reads {expected} channels")),
                    (None, Err(error)) => fail(error.to_string()),
                    (None, Ok(of)) => Ok(Self { batch, of }),
                }
            }
            _ => fail("expected (batch, channels, height, width)".into()),
        }
    }

    /// Shape of a node's value, (n, c, h, w).
    pub(super) fn dims(&self, id: NodeId) -> Vec<usize> {
        let Shape { channels, height, width } = self.of[id];
        vec![self.batch, channels, height, width]
    }

    /// How many numbers a node's value has.
    pub(super) fn len(&self, id: NodeId) -> usize {
        self.dims(id).iter().product()
    }

    /// Shapes of all that a node reads: its inputs, or the images.
    pub(super) fn inputs(&self, graph: &Graph, id: NodeId) -> Vec<Vec<usize>> {
        let inputs = &graph.node(id).inputs;
        if inputs.is_empty() { vec![self.dims(id)] } else { inputs.iter().map(|&input| self.dims(input)).collect() }
    }

    /// Puts the layer to an error of one of its operations.
    pub(super) fn in_layer<T>(
        &self,
        graph: &Graph,
        id: NodeId,
        result: candle_core::Result<T>,
    ) -> Result<T, ExecError> {
        result.map_err(|source| {
            let (node, inputs) = (graph.node(id), self.inputs(graph, id));
            ExecError::Layer { layer: node.name.clone(), kind: node.op.kind(), inputs, source: Box::new(source) }
        })
    }

    /// Checks the values with which a run is to begin.
    ///
    /// # Errors
    /// Where one is missing, or does not fit the images.
    pub(super) fn check_starts(
        &self,
        graph: &Graph,
        starts: &[NodeId],
        given: &BTreeMap<NodeId, Tensor>,
    ) -> Result<(), ExecError> {
        for &id in starts {
            let layer = || graph.node(id).name.clone();
            let value = given.get(&id).ok_or_else(|| ExecError::MissingStart { layer: layer() })?;
            let (expected, found) = (self.dims(id), value.dims().to_vec());
            if expected != found {
                return Err(ExecError::Start { layer: layer(), expected, found });
            }
        }
        Ok(())
    }
}

/// Checks that all nodes are in the graph.
///
/// # Errors
/// Names the first that is not.
pub(super) fn check_nodes(graph: &Graph, nodes: &[NodeId]) -> Result<(), ExecError> {
    let count = graph.nodes().len();
    match nodes.iter().find(|&&node| node >= count) {
        Some(&node) => Err(ExecError::NoNode { node, nodes: count }),
        None => Ok(()),
    }
}

/// Checks that gradients are for what a run gave.
///
/// # Errors
/// Where their number or a shape does not fit, or a node was not tapped.
pub(super) fn check_gradients(graph: &Graph, values: &Values, gradients: &ValueGradients) -> Result<(), ExecError> {
    let (expected, found) = (values.outputs.len(), gradients.outputs.len());
    if expected != found {
        return Err(ExecError::OutputGradients { expected, found });
    }
    let layer = |id: NodeId| graph.nodes().get(id).map_or_else(|| id.to_string(), |node| node.name.clone());
    let fits = |id: NodeId, value: &Tensor, gradient: &Tensor| match value.dims() == gradient.dims() {
        true => Ok(()),
        false => {
            let (expected, found) = (value.dims().to_vec(), gradient.dims().to_vec());
            Err(ExecError::Gradient { layer: layer(id), expected, found })
        }
    };
    for ((&id, value), gradient) in graph.outputs().iter().zip(&values.outputs).zip(&gradients.outputs) {
        gradient.iter().try_for_each(|gradient| fits(id, value, gradient))?;
    }
    for (&id, gradient) in &gradients.taps {
        let value = values.taps.get(&id).ok_or_else(|| ExecError::NotTapped { layer: layer(id) })?;
        fits(id, value, gradient)?;
    }
    Ok(())
}
