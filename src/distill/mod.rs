//! Distillation: a student learns from the labels and from a teacher that looks at the same images.
//!
//! There may be several teachers, whose outputs are averaged, or none: then the student's own average teaches it. What is compared is a list, [`TERMS`]: outputs, boxes, the
//! features that the neck hands to the head or any others (through trained adapters where their widths differ), relations
//! between images. Each term has a weight and options of its own, acts over a part of the run, and may be balanced against
//! the detection loss.

mod adapter;
mod adapters;
mod average;
mod balance;
mod by_level;
mod cache;
mod classes;
mod comparison;
mod compress;
mod confidence;
mod convolve;
mod distiller;
mod divergence;
mod ensemble;
mod error;
mod expression;
mod features;
mod head;
mod kept;
mod labels;
mod normalise;
mod options;
mod outputs;
mod pair;
mod part;
mod places;
mod pointwise;
mod recipe;
mod terms;
mod timing;
mod tuner;

pub use compress::{CompressError, compress};
pub use distiller::{Distiller, objective};
pub use error::DistillError;
pub use expression::{Along, Binary, Expression, Unary};
pub use options::{DistillOptions, Labels, Terms};
pub use part::is_distilled;
pub use terms::{TERMS, TermInfo};
pub use tuner::Imitation;

#[cfg(test)]
mod average_tests;
#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod labels_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod resident_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
