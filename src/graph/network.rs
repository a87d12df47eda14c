//! A network: its nodes, in the order in which they run, and its outputs.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    error::GraphError,
    node::{Node, NodeId},
    op::Op,
    parameter::Parameter,
};

/// A network: nodes in an order in which they can run, and which of them are the results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: Vec<NodeId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a node and gives its place, which later nodes name as their input.
    pub fn add(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        self.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    /// Says which nodes are the results, in order.
    pub fn set_outputs(&mut self, outputs: Vec<NodeId>) {
        self.outputs = outputs;
    }

    /// The nodes, each after all that it reads.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at a place.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// A node's operation, to be changed in place (by pruning).
    pub fn op_mut(&mut self, id: NodeId) -> &mut Op {
        &mut self.nodes[id].op
    }

    /// The results, in order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// Every tensor of the graph, in graph order: owning node, full name, what the operation says of it.
    pub fn parameters(&self) -> impl Iterator<Item = (NodeId, String, Parameter)> + '_ {
        self.nodes.iter().enumerate().flat_map(|(id, node)| {
            let name = move |parameter: Parameter| (id, node.tensor_name(parameter.suffix), parameter);
            node.op.parameters().into_iter().map(name)
        })
    }

    /// Checks names, order, arities and channel counts.
    ///
    /// # Errors
    /// Names the first layer that does not fit, with what was expected and found.
    pub fn validate(&self) -> Result<(), GraphError> {
        let mut seen = HashSet::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if !seen.insert(node.name.as_str()) {
                return Err(GraphError::DuplicateName { name: node.name.clone() });
            }
            if let Some(&input) = node.inputs.iter().find(|&&input| input >= id) {
                return Err(GraphError::BadInput { name: node.name.clone(), input });
            }
        }
        if let Some(&output) = self.outputs.iter().find(|&&output| output >= self.nodes.len()) {
            return Err(GraphError::BadOutput { output, nodes: self.nodes.len() });
        }
        self.channels().map(|_| ())
    }
}
