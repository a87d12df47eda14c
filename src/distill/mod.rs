//! Distillation: a student learns from the labels and from a teacher that looks at the same images.
//!
//! What is compared is a list, [`TERMS`]: outputs softened by a temperature, boxes where the teacher sees an object, and
//! the features that the neck hands to the head, channel by channel (through learned 1×1 adapters where the widths
//! differ) or as maps of attention.

mod adapter;
mod attention;
mod channelwise;
mod distiller;
mod divergence;
mod error;
mod options;
mod outputs;
mod pair;
mod terms;
mod tuner;

pub use distiller::{Distiller, objective};
pub use error::DistillError;
pub use options::{DistillOptions, Weights};
pub use terms::{Compares, TERMS, TermInfo};
pub use tuner::Imitation;

#[cfg(test)]
mod resident_tests;
#[cfg(test)]
mod tests;
