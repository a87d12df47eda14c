//! What criteria need beside the weights.

use crate::graph::{NodeId, Role};

/// What a criterion needs beside the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Nodes whose outputs on real images it wants statistics of, channel by channel.
    pub activations: Vec<NodeId>,
    /// Nodes for which it wants to know, channel by channel, how noise on the images changes their outputs.
    pub changes: Vec<NodeId>,
    /// Whether it wants the gradients of the detection loss with respect to the trained tensors.
    pub gradients: bool,
    /// Nodes for which it wants to know, channel by channel, how strongly the loss pulls at their outputs.
    pub pulls: Vec<NodeId>,
    /// Whether it wants the mean squares of the gradients of single images with respect to the trained tensors.
    pub squares: bool,
    /// Roles of the parameters that it wants, times their gradients, joined over every coupled channel, image by image.
    pub products: Vec<Role>,
    /// Nodes whose outputs, times the loss's gradient there, it wants joined over every coupled channel, image by image.
    pub joint: Vec<NodeId>,
}

impl Needs {
    /// What that takes of a dataset.
    pub fn data(&self) -> Data {
        let Needs { activations, changes, gradients, pulls, squares, products, joint } = self;
        if *gradients || *squares || !products.is_empty() || !pulls.is_empty() || !joint.is_empty() {
            Data::Labels
        } else if !activations.is_empty() || !changes.is_empty() {
            Data::Images
        } else {
            Data::None
        }
    }

    /// What both need.
    pub fn and(self, other: Self) -> Self {
        let union = |mut nodes: Vec<NodeId>, others: Vec<NodeId>| {
            nodes.extend(others);
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        };
        Self {
            activations: union(self.activations, other.activations),
            changes: union(self.changes, other.changes),
            gradients: self.gradients || other.gradients,
            pulls: union(self.pulls, other.pulls),
            squares: self.squares || other.squares,
            products: self.products.into_iter().chain(other.products).fold(Vec::new(), |mut roles, role| {
                if !roles.contains(&role) {
                    roles.push(role);
                }
                roles
            }),
            joint: union(self.joint, other.joint),
        }
    }
}

/// What a criterion needs of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
