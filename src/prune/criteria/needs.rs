//! What criteria need beside the weights.

use crate::graph::NodeId;

/// What a criterion needs beside the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Nodes whose outputs on real images it wants statistics of, channel by channel.
    pub activations: Vec<NodeId>,
    /// Whether it wants the gradients of the detection loss with respect to the trained tensors.
    pub gradients: bool,
}

impl Needs {
    /// What that takes of a dataset.
    pub fn data(&self) -> Data {
        match (self.gradients, self.activations.is_empty()) {
            (true, _) => Data::Labels,
            (false, false) => Data::Images,
            (false, true) => Data::None,
        }
    }
}

/// What a criterion needs of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing: it looks at weights.
    None,
    /// Images.
    Images,
    /// Images with labels, for the gradients of a loss.
    Labels,
}

impl Data {
    /// In a word; empty for nothing.
    pub fn name(self) -> &'static str {
        match self {
            Data::None => "",
            Data::Images => "images",
            Data::Labels => "labels",
        }
    }
}
