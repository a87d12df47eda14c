//! Seeing values as they pass.

use candle_core::Tensor;

use super::error::{ExecError, ObserverError};
use crate::graph::{Graph, NodeId};

/// Sees the values of nodes, and their gradients, as they pass. A value is freed after its last use unless the observer
/// keeps a clone of its tensor, so that statistics of every layer cost one pass and the memory of a few layers.
pub trait Observer: Send {
    /// Whether it wants to see this node.
    fn wants(&self, node: NodeId) -> bool;

    /// Sees a node's output, (n, channels, h, w), as soon as it is computed.
    ///
    /// # Errors
    /// Whatever the observer cannot do; the run stops with it.
    fn value(&mut self, node: NodeId, value: &Tensor) -> Result<(), ObserverError> {
        let _ = (node, value);
        Ok(())
    }

    /// Sees the whole gradient of the loss with respect to a node's output, as soon as it is complete in the backward
    /// pass; nodes that no gradient reaches are not seen.
    ///
    /// # Errors
    /// Whatever the observer cannot do; the run stops with it.
    fn gradient(&mut self, node: NodeId, gradient: &Tensor) -> Result<(), ObserverError> {
        let _ = (node, gradient);
        Ok(())
    }
}

/// Sees nothing.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn wants(&self, _: NodeId) -> bool {
        false
    }
}

/// The nodes of a graph that an observer wants to see.
pub(super) fn wanted<'a>(graph: &Graph, observer: &'a dyn Observer) -> impl Iterator<Item = NodeId> + 'a {
    (0..graph.nodes().len()).filter(|&id| observer.wants(id))
}

/// Shows a value to an observer that wants it.
pub(super) fn show_value(
    graph: &Graph,
    observer: &mut dyn Observer,
    id: NodeId,
    value: &Tensor,
) -> Result<(), ExecError> {
    match observer.wants(id) {
        true => observer.value(id, value).map_err(|source| failed(graph, id, source)),
        false => Ok(()),
    }
}

/// Shows a gradient to an observer that wants it.
pub(super) fn show_gradient(
    graph: &Graph,
    observer: &mut dyn Observer,
    id: NodeId,
    gradient: &Tensor,
) -> Result<(), ExecError> {
    match observer.wants(id) {
        true => observer.gradient(id, gradient).map_err(|source| failed(graph, id, source)),
        false => Ok(()),
    }
}

fn failed(graph: &Graph, id: NodeId, source: ObserverError) -> ExecError {
    ExecError::Observer { layer: graph.node(id).name.clone(), source }
}
