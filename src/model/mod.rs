//! A model: a graph, its tensors by name, the masks on them, and what a detector needs to know.

mod detector;
mod digest;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod masks;
mod statistics;
mod value;

pub use detector::{Detector, Head, Output, OutputKind};
pub use digest::digest;
pub use error::ModelError;
pub use statistics::{Accumulator, FilterStatistics, Histogram, LayerDetail, LayerStatistics, NEAR_ZERO, Statistics};
pub use value::{Kept, Model, Provenance, Tensors};
