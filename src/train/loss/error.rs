//! What can be wrong with a loss.

use thiserror::Error;

/// What can be wrong with a loss.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LossError {
    /// Outputs that are not those of the model the loss was made for.
    #[error("the loss expected {expected} head outputs with {channels:?} channels, found shapes {found:?}")]
    Outputs {
        /// How many there should be.
        expected: usize,
        /// Their channels.
        channels: Vec<usize>,
        /// The shapes that were given.
        found: Vec<Vec<usize>>,
    },
    /// A target outside the batch or the model's classes.
    #[error("target {index} is of image {image} and class {class}, but there are {batch} images and {classes} classes")]
    Target {
        /// Its place in the list.
        index: usize,
        /// Its image.
        image: usize,
        /// Its class.
        class: usize,
        /// Images of the batch.
        batch: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// A weight that the model's loss has no part for.
    #[error("a {head} model has no {part} loss; leave its weight out")]
    NoSuchPart {
        /// Kind of the model's head.
        head: &'static str,
        /// The part.
        part: &'static str,
    },
    /// A weight that is negative or no number.
    #[error("the weight of the {part} loss is {value}; expected a number of at least 0")]
    Gain {
        /// The part.
        part: &'static str,
        /// The weight given.
        value: f32,
    },
    /// A detector whose facts make no sense.
    #[error("there is no loss for this detector: {0}")]
    Detector(String),
    /// Tensors could not be read or made.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
