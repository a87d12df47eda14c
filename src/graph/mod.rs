//! The network as data: nodes, operations, shapes and costs. No tensors live here.

mod cost;
mod op;
mod parameter;
mod shape;

pub use cost::Cost;
pub use op::{Activation, BatchNorm, Conv, MaxPool, Op};
pub use parameter::{Axis, Parameter, Role};
pub use shape::Shape;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A node's place in [`Graph::nodes`].
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

/// A network: nodes in an order in which they can run, and which of them are the results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: Vec<NodeId>,
}

/// A parameter that reads all channels of a value, an index of one of its axes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The node that owns it.
    pub node: NodeId,
    /// The value whose channels it reads.
    pub input: NodeId,
    /// Full name of the tensor.
    pub name: String,
    /// Place of the axis that runs over those channels.
    pub axis: usize,
}

/// What can be wrong with a graph, or with asking something of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two nodes of one name would own the same tensors.
    #[error("two layers are named `{name}`; every layer needs a name of its own")]
    DuplicateName {
        /// The name in question.
        name: String,
    },
    /// A node reads something that does not come before it.
    #[error("layer `{name}` reads layer {input}, which does not come before it")]
    BadInput {
        /// The reading node.
        name: String,
        /// The place it reads from.
        input: NodeId,
    },
    /// An output that is no node.
    #[error("output {output} is not a layer of the graph, which has {nodes} layers")]
    BadOutput {
        /// The place that was named.
        output: NodeId,
        /// How many nodes there are.
        nodes: usize,
    },
    /// An operation whose inputs or attributes do not fit.
    #[error("layer `{name}` ({kind}): {reason}")]
    BadNode {
        /// The node in question.
        name: String,
        /// Its kind.
        kind: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
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

    /// Channels of the images that the network reads, if it reads any.
    pub fn image_channels(&self) -> Option<usize> {
        self.nodes.iter().find_map(|node| if let Op::Input { channels } = node.op { Some(channels) } else { None })
    }

    /// The results, in order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The value that a module gives: the node of this name, or the last node inside the module of this path
    /// (`model.2` gives `model.2.cv3.act`).
    pub fn module_output(&self, path: &str) -> Option<NodeId> {
        let inside =
            |node: &Node| node.name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.nodes.iter().rposition(inside)
    }

    /// For every node, the nodes that read it.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                consumers[input].push(id);
            }
        }
        consumers
    }

    /// The node that alone reads a value; none where several or none do, or where the value is an output of the graph.
    pub fn sole_reader(&self, id: NodeId) -> Option<NodeId> {
        let later = self.nodes.iter().enumerate().skip(id + 1);
        let mut readers = later.filter(|(_, node)| node.inputs.contains(&id)).map(|(reader, _)| reader);
        let first = readers.next()?;
        (readers.next().is_none() && !self.outputs.contains(&id)).then_some(first)
    }

    /// Every tensor of the graph, in graph order: owning node, full name, what the operation says of it.
    pub fn parameters(&self) -> impl Iterator<Item = (NodeId, String, Parameter)> + '_ {
        self.nodes.iter().enumerate().flat_map(|(id, node)| {
            let name = move |parameter: Parameter| (id, node.tensor_name(parameter.suffix), parameter);
            node.op.parameters().into_iter().map(name)
        })
    }

    /// The nodes that own a tensor of this role, in graph order.
    pub fn owners(&self, role: Role) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().enumerate().filter(move |(_, node)| node.op.owns(role)).map(|(id, _)| id)
    }

    /// Every parameter with an axis over all channels of its node's input, in graph order: the weights of ungrouped
    /// convolutions.
    pub fn readers(&self) -> Vec<Reader> {
        let reader = |(node, name, parameter): (NodeId, String, Parameter)| {
            let axis = parameter.input_axis()?;
            Some(Reader { node, input: self.node(node).inputs[0], name, axis })
        };
        self.parameters().filter_map(reader).collect()
    }

    /// Checks names, order, arities and channel counts.
    ///
    /// # Errors
    /// Names the first layer that does not fit, with what was expected and found.
    pub fn validate(&self) -> Result<(), GraphError> {
        let mut seen = std::collections::HashSet::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn residual() -> Graph {
        let mut graph = Graph::new();
        let image = graph.add("images", Op::Input { channels: 3 }, &[]);
        let stem = graph.add("model.0.conv", Op::Conv(Conv::same(3, 8, 3, 2)), &[image]);
        let norm = BatchNorm { channels: 8, eps: 1e-3, momentum: 0.03 };
        let normed = graph.add("model.0.bn", Op::BatchNorm(norm), &[stem]);
        let branch = graph.add("model.1.conv", Op::Conv(Conv::same(8, 8, 3, 1)), &[normed]);
        let sum = graph.add("model.1.add", Op::Add, &[normed, branch]);
        graph.set_outputs(vec![sum]);
        graph
    }

    #[test]
    fn shapes_costs_and_names() {
        let graph = residual();
        graph.validate().unwrap();
        let shapes = graph.shapes([32, 48]).unwrap();
        assert_eq!(shapes[4], Shape { channels: 8, height: 16, width: 24 });
        let costs = graph.costs([32, 48]).unwrap();
        assert_eq!(costs[1], Cost { params: 3 * 8 * 9, macs: 3 * 8 * 9 * 16 * 24 });
        assert_eq!(costs[2].params, 16);
        assert_eq!(graph.module_output("model.1"), Some(4));
        assert_eq!(graph.module_output("model"), Some(4));
        assert_eq!(graph.find("model.0.bn"), Some(2));
        assert_eq!(graph.parameters().count(), 6);
    }

    #[test]
    fn survives_serde() {
        let graph = residual();
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
    }

    #[test]
    fn misfits_are_named() {
        let mut graph = residual();
        graph.add("model.2.conv", Op::Conv(Conv::same(9, 4, 1, 1)), &[4]);
        let error = graph.validate().unwrap_err().to_string();
        assert!(error.contains("model.2.conv") && error.contains('9') && error.contains('8'), "{error}");
        let mut graph = residual();
        graph.add("model.0.bn", Op::Concat, &[4]);
        assert!(matches!(graph.validate(), Err(GraphError::DuplicateName { .. })));
        let mut graph = residual();
        graph.add("model.3", Op::Concat, &[7]);
        assert!(matches!(graph.validate(), Err(GraphError::BadInput { input: 7, .. })));
    }

    #[test]
    fn sizes_beyond_reason_are_named_errors() {
        let error = |graph: Graph| graph.costs([640, 640]).unwrap_err().to_string();
        // Weights: channels and kernels whose product is beyond 64 bits.
        let mut graph = residual();
        let conv = Conv { kernel: [1 << 40; 2], ..Conv::same(8, 8, 1, 1) };
        graph.add("model.9.huge", Op::Conv(conv), &[4]);
        let weight = error(graph);
        assert!(weight.contains("model.9.huge") && weight.contains("too large"), "{weight}");
        // Channels that need no weights at all.
        let mut graph = residual();
        for step in 0..62 {
            let last = graph.nodes().len() - 1;
            graph.add(format!("double.{step}"), Op::Concat, &[last, last]);
        }
        assert!(error(graph).contains("double.13"));
        // Maps: upsampling again and again.
        let mut graph = residual();
        for step in 0..12 {
            let last = graph.nodes().len() - 1;
            graph.add(format!("up.{step}"), Op::Upsample { scale: 64 }, &[last]);
        }
        assert!(error(graph).contains("up.1"));
        // Multiply-accumulates, each layer of which fits.
        let mut graph = Graph::new();
        let image = graph.add("images", Op::Input { channels: 1 }, &[]);
        let wide = graph.add("wide", Op::Conv(Conv { padding: [0; 2], ..Conv::same(1, 1, 1 << 17, 1) }), &[image]);
        graph.set_outputs(vec![wide]);
        let error = graph.costs([1 << 18; 2]).unwrap_err().to_string();
        assert!(error.contains("wide") && error.contains("64 bits"), "{error}");
        // No channels at all.
        let mut graph = Graph::new();
        graph.add("images", Op::Input { channels: 0 }, &[]);
        assert!(graph.validate().unwrap_err().to_string().contains("0 channels"));
    }
}
