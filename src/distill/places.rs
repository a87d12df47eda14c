//! The boxes that outputs stand for, at every place, in operations that candle can differentiate.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax};

use super::confidence::best_scores;
use crate::model::{Detector, Head, OutputKind};

/// The boxes of one level, in cells of it.
pub(super) struct Level {
    /// Left, top, right, bottom: each (n, anchors, h, w), one anchor where the head has none.
    pub corners: [Tensor; 4],
    /// The best class score there, (n, anchors, h, w).
    pub confidence: Tensor,
}

/// Decodes a head's outputs, level by level, finest first. The formulas are those of [`crate::eval::decode`].
pub(super) fn boxes(detector: &Detector, outputs: &[Tensor]) -> Result<Vec<Level>> {
    let confidences = best_scores(detector, outputs)?;
    let corners: Vec<[Tensor; 4]> = match &detector.head {
        Head::Anchors { anchors } => {
            let maps = detector.by_level(OutputKind::Anchors, outputs).into_iter().zip(anchors).zip(&detector.strides);
            maps.map(|((map, anchors), &stride)| around_anchors(map, anchors, stride as f64)).collect::<Result<_>>()?
        }
        Head::Distribution { reg_max } => {
            let maps = detector.by_level(OutputKind::Boxes, outputs).into_iter();
            maps.map(|map| from_sides(map, *reg_max)).collect::<Result<_>>()?
        }
    };
    Ok(corners.into_iter().zip(confidences).map(|(corners, confidence)| Level { corners, confidence }).collect())
}

impl Level {
    /// At every place only the box of one anchor, given by its index (n, 1, h, w).
    pub fn only(&self, anchor: &Tensor) -> Result<Self> {
        let take = |tensor: &Tensor| tensor.contiguous()?.gather(anchor, 1);
        let [left, top, right, bottom] = &self.corners;
        let corners = [take(left)?, take(top)?, take(right)?, take(bottom)?];
        Ok(Self { corners, confidence: take(&self.confidence)? })
    }

    /// The surest anchor at every place, (n, 1, h, w).
    pub fn surest(&self) -> Result<Tensor> {
        self.confidence.argmax_keepdim(1)?.contiguous()
    }

    /// How many boxes there are at a place.
    pub fn anchors(&self) -> Result<usize> {
        self.confidence.dim(1)
    }
}

/// Indices 0, 1, … along a map's width (1, 1, 1, w) and height (1, 1, h, 1).
fn cells(height: usize, width: usize, device: &Device) -> Result<[Tensor; 2]> {
    let along = |extent: usize| Tensor::arange(0f32, extent as f32, device);
    Ok([along(width)?.reshape((1, 1, 1, width))?, along(height)?.reshape((1, 1, height, 1))?])
}

fn around_anchors(map: &Tensor, anchors: &[[f32; 2]], stride: f64) -> Result<[Tensor; 4]> {
    let (batch, channels, height, width) = map.dims4()?;
    let map = map.reshape((batch, anchors.len(), channels / anchors.len(), height, width))?;
    let shares = sigmoid(&map.narrow(2, 0, 4)?.contiguous()?)?;
    let share = |plane: usize| shares.narrow(2, plane, 1)?.squeeze(2);
    let mut sides = Vec::with_capacity(4);
    for (axis, cell) in cells(height, width, map.device())?.iter().enumerate() {
        let centre = ((share(axis)? * 2.0)? - 0.5)?.broadcast_add(cell)?;
        let extents: Vec<f32> = anchors.iter().map(|anchor| (f64::from(anchor[axis]) / stride) as f32).collect();
        let extents = Tensor::from_vec(extents, (1, anchors.len(), 1, 1), map.device())?;
        // Half of (2σ)² · anchor.
        let half = (share(2 + axis)?.sqr()? * 2.0)?.broadcast_mul(&extents)?;
        sides.push([(&centre - &half)?, (centre + half)?]);
    }
    corners(sides)
}

fn from_sides(map: &Tensor, bins: usize) -> Result<[Tensor; 4]> {
    let (batch, _, height, width) = map.dims4()?;
    let distances = match bins {
        1 => map.reshape((batch, 4, height, width))?,
        _ => {
            // Bins last, where softmax is fast.
            let logits = map.reshape((batch, 4, bins, height * width))?.transpose(2, 3)?.contiguous()?;
            let places = Tensor::arange(0f32, bins as f32, map.device())?;
            let expectations = softmax(&logits, D::Minus1)?.broadcast_mul(&places)?.sum(D::Minus1)?;
            expectations.reshape((batch, 4, height, width))?
        }
    };
    let mut sides = Vec::with_capacity(4);
    for (axis, cell) in cells(height, width, map.device())?.iter().enumerate() {
        let centre = (cell + 0.5)?;
        let [before, after] = [axis, 2 + axis].map(|side| distances.narrow(1, side, 1));
        sides.push([centre.broadcast_sub(&before?)?, centre.broadcast_add(&after?)?]);
    }
    corners(sides)
}

/// From [left, right] and [top, bottom].
fn corners(sides: Vec<[Tensor; 2]>) -> Result<[Tensor; 4]> {
    match <[[Tensor; 2]; 2]>::try_from(sides) {
        Ok([[left, right], [top, bottom]]) => Ok([left, top, right, bottom]),
        Err(_) => candle_core::bail!("a box has two axes"),
    }
}

/// Intersection over union of boxes in pairs.
pub(super) fn overlap(a: &Level, b: &Level) -> Result<Tensor> {
    let ([al, at, ar, ab], [bl, bt, br, bb]) = (&a.corners, &b.corners);
    let both = ((ar.minimum(br)? - al.maximum(bl)?)?.relu()? * (ab.minimum(bb)? - at.maximum(bt)?)?.relu()?)?;
    // Sides that lie on the wrong side of the centre enclose nothing.
    let area = |[left, top, right, bottom]: [&Tensor; 4]| (right - left)?.relu()? * (bottom - top)?.relu()?;
    let all = ((area([al, at, ar, ab])? + area([bl, bt, br, bb])?)? - &both)?;
    both / (all + 1e-9)?
}
