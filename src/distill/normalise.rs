//! Features brought to one scale.

use candle_core::{Result, Tensor};

/// Features (n, c, h, w) with mean 0 and variance 1 in each channel, over all images and places.
pub(super) fn standardise(features: &Tensor) -> Result<Tensor> {
    let centred = features.broadcast_sub(&features.mean_keepdim((0, 2, 3))?)?;
    // A channel that is constant has no scale; the smallest variance keeps its gradient finite.
    let deviation = (centred.sqr()?.mean_keepdim((0, 2, 3))? + 1e-6)?.sqrt()?;
    centred.broadcast_div(&deviation)
}

/// Rows (n, d) of length 1.
pub(super) fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    // A row of zeros has no direction; the smallest length keeps its gradient finite.
    rows.broadcast_div(&(rows.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?)
}
