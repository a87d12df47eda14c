//! A node: one operation of a network.

use serde::{Deserialize, Serialize};

use super::op::Op;

/// A node's place in [`Graph::nodes`](super::Graph::nodes).
pub type NodeId = usize;

/// One operation, with the values it reads and the name that its parameters start with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The path that the checkpoint's own state dict uses, such as `model.4.m.0.cv1.conv`.
    pub name: String,
    /// What is computed.
    #[serde(flatten)]
    pub op: Op,
    /// The nodes whose outputs are read; all come earlier in the graph.
    pub inputs: Vec<NodeId>,
}

impl Node {
    /// The full name of the tensor with this suffix: `model.0.conv` and `weight` give `model.0.conv.weight`.
    pub fn tensor_name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }
}
