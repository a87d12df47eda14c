//! The reference path: every operation in candle's own, differentiable operations, on any device.

mod inference;
mod ops;
mod training;

pub(super) use inference::Prepared;
pub(super) use training::{Recorded, train};
