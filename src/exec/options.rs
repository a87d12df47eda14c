//! What runs can be asked for.

use crate::graph::NodeId;

/// What an [`Inference`](super::Inference) is made ready for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InferenceOptions {
    /// Nodes whose values a run keeps.
    pub taps: Vec<NodeId>,
    /// Nodes that an observer may see although they run as one with those that follow (a convolution's output before its
    /// normalisation). Others it may see in any case.
    pub observed: Vec<NodeId>,
    /// Nodes whose values a run is given: it computes only what the outputs and taps need beside them.
    /// [`frontier`](super::frontier) gives those before a change.
    pub starts: Vec<NodeId>,
    /// Whether a run computes what the taps need, and no outputs.
    pub taps_alone: bool,
}

/// Which statistics the normalisations of a training run use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormStatistics {
    /// Those of the batch; the running averages move.
    #[default]
    Batch,
    /// The running averages, which stay: a normalisation is then an affine map of its input, and images do not depend on
    /// each other.
    Running,
}

/// What a training run keeps, and how it normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainOptions<'a> {
    /// Which statistics normalisations use.
    pub statistics: NormStatistics,
    /// Nodes whose values are kept for the loss.
    pub taps: &'a [NodeId],
    /// Nodes for which [`Tape::backward`](super::Tape::backward) gives the whole gradient of the loss.
    pub gradient_taps: &'a [NodeId],
}
