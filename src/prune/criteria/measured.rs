//! What was measured on real images, and on which.

use std::collections::BTreeMap;

use super::activations::ChannelActivations;
use crate::{data::Dataset, eval::ActivationOptions, graph::NodeId, model::Tensors};

/// The images that a criterion looks at.
#[derive(Clone, Debug)]
pub struct PruneData {
    /// Where they are from.
    pub dataset: Dataset,
    /// Which, how many, how large, and how many at once.
    pub options: ActivationOptions,
}

/// What was measured on images: what [`Needs`](super::Needs) asked for, and nothing else. Normalisations use their running
/// averages, as in inference; behind those of a batch, Σ w·g of a filter is exactly 0.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By node, what its output was like, channel by channel.
    pub activations: BTreeMap<NodeId, Vec<ChannelActivations>>,
    /// By node and channel, the mean of |a(x + d) − a(x)| over images and places, divided by the root mean square of the
    /// noise d on the pixels.
    pub changes: BTreeMap<NodeId, Vec<f64>>,
    /// Gradients of the detection loss with respect to the trained tensors, by name: the mean over images. Tensors that no
    /// gradient reaches are absent.
    pub gradients: Tensors,
    /// By node and channel, the mean of |∂L/∂a| over images and places; 0 where no gradient reaches.
    pub pulls: BTreeMap<NodeId, Vec<f64>>,
    /// The mean over images of the squares of the gradients that each image alone gives, by the tensors' names.
    pub squares: Tensors,
    /// By coupled channel, the mean over images of (Σ w·g)² over the parameters that make it and are of the roles asked for, g
    /// being the gradient that each image alone gives; empty if it was not asked for.
    pub products: Vec<f64>,
    /// By coupled channel, the mean over images of (Σ over nodes and places of a·∂L/∂a)²; empty if it was not asked for.
    pub joint: Vec<f64>,
}
