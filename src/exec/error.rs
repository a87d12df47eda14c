//! What can go wrong while a graph runs.

use thiserror::Error;

use crate::graph::NodeId;

/// Why an observer stops a run.
pub type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong while a graph runs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecError {
    /// An operation failed; the layer says where.
    #[error("layer `{layer}` ({kind}) with input {}: {source}", list(inputs))]
    Layer {
        /// Name of the node.
        layer: String,
        /// Kind of its operation.
        kind: &'static str,
        /// Shapes of all its inputs, each (n, c, h, w); of the images for the node that reads them.
        inputs: Vec<Vec<usize>>,
        /// What failed.
        source: Box<candle_core::Error>,
    },
    /// Convolutions cannot multiply numbers of that dtype.
    #[error("computing in bf16 needs a CPU with AVX-512 BF16 instructions, and {lacking}; compute in fp32")]
    Dtype {
        /// What stands in the way.
        lacking: &'static str,
    },
    /// The images do not fit the network.
    #[error("images of shape {found:?} do not fit: {reason}")]
    Images {
        /// The shape given.
        found: Vec<usize>,
        /// Why it does not fit, and what would.
        reason: String,
    },
    /// A node that the graph does not have.
    #[error("node {node} is not in the graph, which has {nodes} nodes")]
    NoNode {
        /// The node named.
        node: NodeId,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A run that begins at a node's value was not given it.
    #[error("the run begins at layer `{layer}`, but its value was not given")]
    MissingStart {
        /// Name of the node.
        layer: String,
    },
    /// The value given for a node where a run begins does not fit the images.
    #[error("a value of shape {found:?} was given for layer `{layer}`, whose output is {expected:?} for these images")]
    Start {
        /// Name of the node.
        layer: String,
        /// The output's shape.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A gradient does not fit the value that it is for.
    #[error("a gradient of shape {found:?} was given for layer `{layer}`, whose output is {expected:?}")]
    Gradient {
        /// Name of the node.
        layer: String,
        /// The value's shape.
        expected: Vec<usize>,
        /// The gradient's shape.
        found: Vec<usize>,
    },
    /// Not as many gradients as outputs.
    #[error(
        "{found} gradients were given for {expected} outputs; give one for each, or `None` where nothing depends on it"
    )]
    OutputGradients {
        /// How many outputs there are.
        expected: usize,
        /// How many gradients were given.
        found: usize,
    },
    /// A gradient for a node that is not tapped.
    #[error("a gradient was given for layer `{layer}`, whose value was not asked for; tap it when the run is recorded")]
    NotTapped {
        /// Name of the node.
        layer: String,
    },
    /// An observer wants a node that the run does not keep apart from others.
    #[error(
        "an observer wants layer `{layer}`, whose value this run does not make by itself; name it as observed when the run \
         is prepared, or observe it from the start"
    )]
    NotObserved {
        /// Name of the node.
        layer: String,
    },
    /// An observer failed.
    #[error("observing layer `{layer}`: {source}")]
    Observer {
        /// Name of the node.
        layer: String,
        /// The observer's error.
        source: ObserverError,
    },
    /// Tensors could not be made or moved.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Shapes as people write them: `(1, 3, 8, 8) and (1, 4, 8, 8)`.
fn list(shapes: &[Vec<usize>]) -> String {
    let shape = |dims: &Vec<usize>| format!("({})", dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", "));
    shapes.iter().map(shape).collect::<Vec<_>>().join(" and ")
}
