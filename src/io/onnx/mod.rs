//! ONNX, for the programs that detectors are deployed with.
//!
//! [`export`] writes a model as a file with the layout and metadata of the exporters of YOLOv5 and of Ultralytics, once
//! another engine has run it and gave what the model gives. An [`OnnxModel`] is a file of any tool, run by that engine.

mod builder;
mod compose;
mod cost;
mod cut;
mod engine;
mod expected;
mod export;
mod facts;
mod fold;
mod head;
mod literal;
mod metadata;
mod opened;
mod options;
mod proto;
mod spell;
mod standard;
mod suppress;
mod verify;
mod widths;

pub use super::onnx_error::OnnxError;
pub use cost::Weights;
pub use engine::Threads;
pub use export::{Exported, export};
pub use opened::{Boxes, Layout, OnnxModel};
pub use options::{Batch, ExportOptions};
pub use widths::{OddWidths, odd_widths};

#[cfg(test)]
mod tests;
