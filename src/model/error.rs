//! What can be wrong with a model.

use thiserror::Error;

use crate::graph::GraphError;

/// What can be wrong with a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The graph itself does not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor of the graph is not there.
    #[error("tensor `{name}` is missing; layer `{layer}` needs it with shape {expected:?}")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The node that owns it.
        layer: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the graph says.
    #[error("tensor `{name}` has shape {found:?}, but its layer needs {expected:?}")]
    WrongShape {
        /// The tensor.
        name: String,
        /// The shape it has.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor that no layer owns.
    #[error("tensor `{name}` belongs to no layer of the graph")]
    StrayTensor {
        /// The tensor.
        name: String,
    },
    /// A mask that fits no trained tensor.
    #[error("the mask for `{name}` has shape {mask:?}, and {}", match tensor {
        Some(shape) => format!("the tensor {shape:?}"),
        None => "the model trains no tensor of that name".into(),
    })]
    Mask {
        /// The tensor.
        name: String,
        /// Shape of the mask.
        mask: Vec<usize>,
        /// Shape of the tensor, if there is one.
        tensor: Option<Vec<usize>>,
    },
    /// A mask with numbers that say nothing.
    #[error("the mask for `{name}` has numbers other than 0 and 1")]
    MaskValues {
        /// The tensor.
        name: String,
    },
    /// A name that is not that of one layer.
    #[error("`{name}`: {reason}")]
    Layer {
        /// The name given.
        name: String,
        /// Why it is none, and what would be.
        reason: String,
    },
    /// The outputs do not fit the detector's facts.
    #[error("the detector does not fit its graph: {0}")]
    Detector(String),
    /// Tensors could not be converted or moved.
    #[error("tensors could not be converted or moved: {0}")]
    Tensor(#[from] candle_core::Error),
}
