//! How good and how fast a detector is.
//!
//! Raw outputs become boxes ([`decode`]), of which those that overlap go ([`suppress`]); against labels they give
//! [`average_precision`] by one of three [`Rule`]s.

mod average_precision;
mod boxes;
mod coco;
mod curves;
mod decode;
mod error;
mod matching;
mod nms;

pub use average_precision::{ClassScore, CocoScore, Rule, Score, Scores, average_precision};
pub use boxes::{Corners, Detection, Judged, Truth, area, intersection, iou};
pub use decode::{DecodeOptions, decode};
pub use error::EvalError;
pub use nms::{NmsOptions, suppress};
