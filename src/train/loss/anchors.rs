//! The YOLOv5 loss: targets matched to anchors by shape, CIoU, objectness and class cross-entropies.

use candle_core::Tensor;
use espalier_kernels::logistic::sigmoid_of;
use rayon::prelude::*;

use super::{
    ciou::ciou,
    error::LossError,
    maps::{Extent, Maps, background, bce, by_image},
    value::Loss,
};
use crate::{
    boxes::{Centred, Corners},
    data::Target,
    model::Detector,
};

/// Weights of the YOLOv5 loss and the rule of its matching.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorLoss {
    /// Anchor (width, height) in cells: `anchors[level][anchor]`.
    anchors: Vec<Vec<[f32; 2]>>,
    /// The level of each output.
    levels: Vec<usize>,
    classes: usize,
    /// Weight of the mean 1 − CIoU.
    pub box_gain: f32,
    /// Weight of the mean objectness cross-entropy.
    pub objectness_gain: f32,
    /// Weight of the mean class cross-entropy.
    pub class_gain: f32,
    /// A target and an anchor match where neither side is this many times the other's.
    pub ratio_threshold: f32,
    /// Weight of each level's objectness, finest first.
    pub balance: Vec<f32>,
}

/// A target given to one anchor of one cell.
struct Match {
    anchor: usize,
    row: usize,
    column: usize,
    class: usize,
    /// The target relative to the cell, in cells.
    target: Corners,
}

/// Sums of one image on one level.
#[derive(Clone, Copy, Default)]
struct Sums {
    bbox: f64,
    objectness: f64,
    class: f64,
}

/// Weight of each level's objectness, finest first, for a detector of so many levels: the finest has most places and
/// fewest objects. As YOLOv5's `ComputeLoss` has them.
pub fn objectness_balance(levels: usize) -> Vec<f32> {
    let known: &[f32] = if levels == 3 { &[4.0, 1.0, 0.4] } else { &[4.0, 1.0, 0.25, 0.06, 0.02] };
    (0..levels).map(|level| known[level.min(known.len() - 1)]).collect()
}

impl AnchorLoss {
    /// The loss of a detector with these anchors in pixels (`anchors[level][anchor]`, as [`crate::model::Head::Anchors`]
    /// has them) with YOLOv5's weights: box 0.05, objectness 1, class 0.5, ratio 4, balance 4 / 1 / 0.4.
    pub fn new(detector: &Detector, anchors: &[Vec<[f32; 2]>]) -> Self {
        let in_cells = |(level, &stride): (&Vec<[f32; 2]>, &usize)| -> Vec<[f32; 2]> {
            level.iter().map(|&[w, h]| [w / stride as f32, h / stride as f32]).collect()
        };
        let anchors: Vec<_> = anchors.iter().zip(&detector.strides).map(in_cells).collect();
        Self {
            balance: objectness_balance(anchors.len()),
            anchors,
            levels: detector.outputs.iter().map(|output| output.level).collect(),
            classes: detector.classes.len(),
            box_gain: 0.05,
            objectness_gain: 1.0,
            class_gain: 0.5,
            ratio_threshold: 4.0,
        }
    }

    pub(super) fn compute(&self, outputs: &[Tensor], targets: &[Target]) -> Result<Loss, LossError> {
        let maps = Maps::new(outputs)?;
        let extents = maps.extents()?;
        let batch = extents.first().map_or(0, |extent| extent.batch);
        let mut gradients: Vec<Vec<f32>> = extents.iter().map(|extent| vec![0.0; batch * extent.per_image()]).collect();
        let outputs = || extents.iter().zip(&self.levels);
        let matches: Vec<Vec<Vec<Match>>> =
            outputs().map(|(extent, &level)| self.match_level(level, extent, batch, targets)).collect();
        let counts: Vec<usize> = matches.iter().map(|level| level.iter().map(Vec::len).sum()).collect();
        let sums: Vec<Vec<Sums>> = maps.with_slices(|slices| {
            let parts = by_image(&mut gradients, &extents, batch).into_par_iter().enumerate();
            let image = |(image, parts): (usize, Vec<&mut [f32]>)| {
                let level = |(output, gradient): (usize, &mut [f32])| {
                    let (level, extent) = (self.levels[output], &extents[output]);
                    let size = extent.per_image();
                    let logits = &slices[output][image * size..(image + 1) * size];
                    self.level(level, extent, batch, counts[output], &matches[output][image], logits, gradient)
                };
                parts.into_iter().enumerate().map(level).collect()
            };
            parts.map(image).collect()
        })?;
        let mut total = Sums::default();
        for (output, (extent, &level)) in outputs().enumerate() {
            let level_sum = |part: fn(&Sums) -> f64| sums.iter().map(|image| part(&image[output])).sum::<f64>();
            let matched = counts[output].max(1) as f64;
            let cells = (batch * self.anchors[level].len() * extent.cells()).max(1) as f64;
            total.bbox += level_sum(|sums| sums.bbox) / matched;
            total.class += level_sum(|sums| sums.class) / (matched * self.classes as f64);
            total.objectness += level_sum(|sums| sums.objectness) / cells * f64::from(self.balance[level]);
        }
        let parts = vec![
            ("box_loss", (total.bbox * f64::from(self.box_gain)) as f32),
            ("obj_loss", (total.objectness * f64::from(self.objectness_gain)) as f32),
            ("cls_loss", (total.class * f64::from(self.class_gain)) as f32),
        ];
        let total = parts.iter().map(|(_, part)| part).sum::<f32>() * batch as f32;
        Ok(Loss { total, parts, gradients: maps.gradients(gradients)? })
    }

    /// The matches of a level, an image each. Every anchor of fitting shape takes the target in the cell of its centre
    /// and in the two neighbours nearest to it. Where several targets meet in a place, the last one listed sets its
    /// objectness; the order is by neighbour, anchor, target.
    fn match_level(&self, level: usize, extent: &Extent, batch: usize, targets: &[Target]) -> Vec<Vec<Match>> {
        const BIAS: f32 = 0.5;
        let (width, height) = (extent.width as f32, extent.height as f32);
        let mut matches: Vec<Vec<Match>> = (0..batch).map(|_| Vec::new()).collect();
        for neighbour in [[0.0, 0.0], [BIAS, 0.0], [0.0, BIAS], [-BIAS, 0.0], [0.0, -BIAS]] {
            for (anchor, &[anchor_w, anchor_h]) in self.anchors[level].iter().enumerate() {
                for target in targets {
                    let Centred { cx: x, cy: y, w, h } = target.truth.bounds.scaled(width, height);
                    let (ratio_w, ratio_h) = (w / anchor_w, h / anchor_h);
                    let worst = ratio_w.max(1.0 / ratio_w).max(ratio_h.max(1.0 / ratio_h));
                    let (from_right, from_bottom) = (width - x, height - y);
                    let near = |place: f32| place % 1.0 < BIAS && place > 1.0;
                    let taken = match neighbour {
                        [dx, _] if dx > 0.0 => near(x),
                        [_, dy] if dy > 0.0 => near(y),
                        [dx, _] if dx < 0.0 => near(from_right),
                        [_, dy] if dy < 0.0 => near(from_bottom),
                        _ => true,
                    };
                    if !(worst < self.ratio_threshold && taken) {
                        continue;
                    }
                    let column = (x - neighbour[0]).trunc().clamp(0.0, width - 1.0);
                    let row = (y - neighbour[1]).trunc().clamp(0.0, height - 1.0);
                    matches[target.image].push(Match {
                        anchor,
                        row: row as usize,
                        column: column as usize,
                        class: target.truth.class,
                        target: Centred { cx: x - column, cy: y - row, w, h }.corners(),
                    });
                }
            }
        }
        matches
    }

    /// Loss sums of one image on one level; writes the gradient of the total.
    #[allow(clippy::too_many_arguments)]
    fn level(
        &self,
        level: usize,
        extent: &Extent,
        batch: usize,
        matched: usize,
        matches: &[Match],
        logits: &[f32],
        gradient: &mut [f32],
    ) -> Sums {
        let cells = extent.cells();
        let attributes = 5 + self.classes;
        let anchors = self.anchors[level].len();
        let scale = batch as f32 / matched.max(1) as f32;
        let (box_scale, class_scale) = (self.box_gain * scale, self.class_gain * scale / self.classes as f32);
        let objectness_scale =
            self.objectness_gain * self.balance[level] * batch as f32 / (batch * anchors * cells).max(1) as f32;
        let mut sums = Sums::default();
        let mut objectness = vec![0.0f32; anchors * cells];
        for Match { anchor, row, column, class, target } in matches {
            let place = row * extent.width + column;
            let at = |attribute: usize| (anchor * attributes + attribute) * cells + place;
            let [anchor_w, anchor_h] = self.anchors[level][*anchor];
            let [x, y, w, h] = [0, 1, 2, 3].map(|attribute| sigmoid_of(logits[at(attribute)]));
            let (width, height) = (4.0 * w * w * anchor_w, 4.0 * h * h * anchor_h);
            let prediction = Centred { cx: 2.0 * x - 0.5, cy: 2.0 * y - 0.5, w: width, h: height };
            let (overlap, [x1, y1, x2, y2]) = ciou(prediction.corners(), *target);
            sums.bbox += f64::from(1.0 - overlap);
            objectness[anchor * cells + place] = overlap.max(0.0);
            let slope = |sigmoid: f32| 2.0 * sigmoid * (1.0 - sigmoid);
            gradient[at(0)] -= box_scale * (x1 + x2) * slope(x);
            gradient[at(1)] -= box_scale * (y1 + y2) * slope(y);
            gradient[at(2)] -= box_scale * (x2 - x1) / 2.0 * 4.0 * w * slope(w) * anchor_w;
            gradient[at(3)] -= box_scale * (y2 - y1) / 2.0 * 4.0 * h * slope(h) * anchor_h;
            if self.classes > 1 {
                for index in 0..self.classes {
                    let place = at(5 + index);
                    let (value, slope) = bce(logits[place], if index == *class { 1.0 } else { 0.0 });
                    sums.class += f64::from(value);
                    gradient[place] += class_scale * slope;
                }
            }
        }
        for anchor in 0..anchors {
            let plane = (anchor * attributes + 4) * cells..(anchor * attributes + 5) * cells;
            sums.objectness += background(&logits[plane.clone()], objectness_scale, &mut gradient[plane]);
        }
        for Match { anchor, row, column, .. } in matches {
            let place = row * extent.width + column;
            // Taken, so that a place of several matches is corrected once.
            let target = std::mem::take(&mut objectness[anchor * cells + place]);
            let at = (anchor * attributes + 4) * cells + place;
            sums.objectness -= f64::from(target * logits[at]);
            gradient[at] -= objectness_scale * target;
        }
        sums
    }
}
