//! YOLO detectors as data: modules in a list, wired into graphs, and fresh models of the published variants.

mod assemble;
mod blocks;
mod error;
mod fresh;
mod init;
mod layer;
mod scale;
mod v5;
mod v8;
mod variant;

pub use assemble::assemble;
pub use error::ZooError;
pub use fresh::{Fresh, Redraw, redraw, yolo};
pub use layer::{Block, Bottleneck, ConvBlock, Detect, Layer, Tower};
pub use variant::{Family, VARIANTS, Variant};

#[cfg(test)]
mod tests;
