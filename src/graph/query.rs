//! Finding nodes: by name, by what they own, by who reads them.

use super::{
    network::Graph,
    node::{Node, NodeId},
    op::Op,
    parameter::{Parameter, Role},
};

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

impl Graph {
    /// Channels of the images that the network reads, if it reads any.
    pub fn image_channels(&self) -> Option<usize> {
        self.nodes().iter().find_map(|node| if let Op::Input { channels } = node.op { Some(channels) } else { None })
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes().iter().position(|node| node.name == name)
    }

    /// The value that a module gives: the node of this name, or the last node inside the module of this path
    /// (`model.2` gives `model.2.cv3.act`).
    pub fn module_output(&self, path: &str) -> Option<NodeId> {
        let inside =
            |node: &Node| node.name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.nodes().iter().rposition(inside)
    }

    /// For every node, the nodes that read it.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes().len()];
        for (id, node) in self.nodes().iter().enumerate() {
            for &input in &node.inputs {
                consumers[input].push(id);
            }
        }
        consumers
    }

    /// The node that alone reads a value; none where several or none do, or where the value is an output of the graph.
    pub fn sole_reader(&self, id: NodeId) -> Option<NodeId> {
        let later = self.nodes().iter().enumerate().skip(id + 1);
        let mut readers = later.filter(|(_, node)| node.inputs.contains(&id)).map(|(reader, _)| reader);
        let first = readers.next()?;
        (readers.next().is_none() && !self.outputs().contains(&id)).then_some(first)
    }

    /// The nodes that own a tensor of this role, in graph order.
    pub fn owners(&self, role: Role) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().iter().enumerate().filter(move |(_, node)| node.op.owns(role)).map(|(id, _)| id)
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
}
