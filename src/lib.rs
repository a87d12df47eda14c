//! Espalier makes YOLO detectors smaller and faster to train: it opens a real checkpoint, shows every layer, prunes
//! channels physically, distils the accuracy back from the unpruned teacher, and measures before and after.
//!
//! A [`model::Model`] is plain data (a [`graph::Graph`], tensors by name, detector facts) and everything else is a
//! function over it. The modules form layers; imports point downwards only.
#![warn(missing_docs)]

pub mod boxes;
pub mod cli;
pub mod data;
pub mod distill;
pub mod eval;
pub mod exec;
pub mod graph;
pub mod io;
pub mod model;
pub mod nearest;
pub mod options;
pub mod progress;
pub mod prune;
pub mod repl;
pub mod report;
pub mod script;
pub mod sweep;
pub mod train;
pub mod zoo;

#[cfg(test)]
pub(crate) mod testing;
