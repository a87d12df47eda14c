//! Runs a graph on tensors, forwards and backwards.
//!
//! Two backends give the same numbers: the reference, candle's own operations with its autograd, which runs on every
//! device, and the fast path, our own kernels with a backward pass of their own, on the CPU. [`Backend::for_device`]
//! chooses.
//!
//! [`Inference`] runs a model many times, on images or from the values of given nodes. [`train`] and [`train_with`] record
//! a run on a [`Tape`], whose [`backward`](Tape::backward) gives [`Gradients`]. An [`Observer`] sees the values of nodes,
//! and their gradients, as they pass.

mod backend;
mod dtype;
mod error;
mod fast;
mod fuse;
mod image_gradients;
mod inference;
pub(crate) mod numbers;
mod observer;
mod options;
mod reach;
mod reference;
mod schedule;
mod shapes;
mod tape;
mod threads;
mod times;
pub(crate) mod transfer;
mod values;
mod ways;

pub use espalier_kernels::dtype::ComputeDtype;

pub use backend::Backend;
pub use error::{ExecError, ObserverError};
pub(crate) use fast::way_in_words as convolution_way;
pub use image_gradients::image_gradients;
pub use inference::{Inference, infer};
pub use observer::Observer;
pub use options::{InferenceOptions, NormStatistics, TrainOptions};
pub use reach::frontier;
pub use tape::{Tape, train, train_observed, train_with};
pub use times::StepTimes;
pub use transfer::transfers;
pub use values::{Gradients, ValueGradients, Values};
pub use ways::ConvolutionWays;

#[cfg(test)]
mod tests;
