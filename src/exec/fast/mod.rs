//! The CPU path: the graph's steps on plain buffers, by our own kernels.
//!
//! Values live in reused buffers from the moment a step makes them until the last step that needs them. In training,
//! what the backward pass needs stays: the inputs of convolutions, and what normalisations and activations read. Images,
//! outputs, taps and what an observer sees are tensors, which steps read and write where they are.

mod backward;
mod describe;
mod inference;
mod training;
mod value;

pub(crate) use describe::way_in_words;
pub(super) use inference::{Prepared, run_once};
pub(super) use training::{Recorded, train};
