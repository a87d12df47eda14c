//! From a detector's raw output maps to boxes.
//!
//! YOLOv5 (Jocher et al. 2020): with σ the sigmoid, a cell (x, y) and an anchor (w, h), the centre is
//! (2σ − 0.5 + cell) · stride and the size (2σ)² · anchor; the confidence is σ(objectness) · σ(class).
//! YOLOv8 (Jocher et al. 2023): each side's distance from the cell's centre is the expectation of a softmax over bins
//! (Li et al. 2020, generalized focal loss), times the stride; the confidence is σ(class).
//!
//! Only places that can pass the confidence threshold are decoded, and the threshold is compared before any sigmoid:
//! most of the maps is never more than looked at.

use candle_core::{DType, Tensor};
use espalier_kernels::logistic::sigmoid_of;
use rayon::prelude::*;

use super::{detection::Detection, error::EvalError};
use crate::boxes::{Centred, Corners};
use crate::exec::transfer;
use crate::model::{Detector, Head, OutputKind};

/// Which boxes are worth decoding.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Boxes of at most this confidence are dropped.
    pub confidence: f32,
    /// Whether a place gives a box for every class that passes (evaluation) or for its best class only (prediction).
    pub multi_label: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { confidence: 0.25, multi_label: false }
    }
}

/// The boxes of every image of a batch in pixels of the network's input, in the order of the maps: level by level,
/// (anchor by anchor,) row by row. Boxes that are not finite are dropped.
///
/// `outputs` are the graph's outputs, each (n, channels, h, w), as [`Detector::outputs`] describes them.
///
/// # Errors
/// Where the outputs do not fit the detector, or cannot be brought to the CPU.
pub fn decode(
    detector: &Detector,
    outputs: &[Tensor],
    options: DecodeOptions,
) -> Result<Vec<Vec<Detection>>, EvalError> {
    let outputs = transfer::down(outputs)?;
    let maps = outputs.iter().map(Map::new).collect::<Result<Vec<Map>, EvalError>>()?;
    check(detector, &maps)?;
    let images = maps.first().map_or(0, |map| map.images);
    let of_kind = |kind| detector.by_level(kind, &maps);
    let (anchor_maps, sides, scores) =
        (of_kind(OutputKind::Anchors), of_kind(OutputKind::Boxes), of_kind(OutputKind::Classes));
    let passes = Passes { logit: logit(options.confidence) - 1e-3, options };
    let one = |image: usize| {
        let mut found = Vec::new();
        match &detector.head {
            Head::Anchors { anchors } => {
                for ((map, anchors), &stride) in anchor_maps.iter().zip(anchors).zip(&detector.strides) {
                    anchor_level(&map.level(image), anchors, stride as f32, passes, &mut found);
                }
            }
            Head::Distribution { .. } => {
                for ((sides, scores), &stride) in sides.iter().zip(&scores).zip(&detector.strides) {
                    let [sides, scores] = [sides.level(image), scores.level(image)];
                    distribution_level(&sides, &scores, stride as f32, passes, &mut found);
                }
            }
        }
        found
    };
    Ok((0..images).into_par_iter().map(one).collect())
}

/// An output on the CPU, flat.
struct Map {
    values: Vec<f32>,
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
}

/// The part of a map that belongs to one image.
struct Level<'a> {
    values: &'a [f32],
    width: usize,
    places: usize,
}

impl Map {
    fn new(output: &Tensor) -> Result<Self, EvalError> {
        let Ok((images, channels, height, width)) = output.dims4() else {
            return Err(EvalError::Outputs(format!(
                "expected maps (n, channels, h, w), found shape {:?}",
                output.dims()
            )));
        };
        let flat = output.to_dtype(DType::F32)?.flatten_all()?;
        Ok(Self { values: flat.to_vec1()?, images, channels, height, width })
    }

    fn level(&self, image: usize) -> Level<'_> {
        let places = self.height * self.width;
        let each = self.channels * places;
        Level { values: &self.values[image * each..][..each], width: self.width, places }
    }
}

impl<'a> Level<'a> {
    fn channel(&self, channel: usize) -> &'a [f32] {
        &self.values[channel * self.places..][..self.places]
    }

    fn channels(&self) -> usize {
        self.values.len() / self.places.max(1)
    }

    fn at(&self, channel: usize, place: usize) -> f32 {
        self.values[channel * self.places + place]
    }

    /// Column and row of a place.
    fn cell(&self, place: usize) -> [f32; 2] {
        [(place % self.width) as f32, (place / self.width) as f32]
    }
}

fn check(detector: &Detector, maps: &[Map]) -> Result<(), EvalError> {
    let expected = detector.channels();
    let found: Vec<usize> = maps.iter().map(|map| map.channels).collect();
    if expected != found {
        return Err(EvalError::Outputs(format!("expected maps of {expected:?} channels, found {found:?}")));
    }
    let size = |map: &Map| (map.images, map.height, map.width);
    for (map, output) in maps.iter().zip(&detector.outputs) {
        let same_level = maps.iter().zip(&detector.outputs).find(|(_, other)| other.level == output.level);
        if let Some((first, kind)) = same_level.map(|(first, other)| (size(first), other.kind))
            && first != size(map)
        {
            let (found, own) = (size(map), output.kind);
            let level = output.level;
            return Err(EvalError::Outputs(format!(
                "on level {level}, {kind:?} are maps of (n, h, w) {first:?}, but {own:?} of {found:?}"
            )));
        }
    }
    match maps.iter().find(|map| map.images != maps[0].images) {
        Some(map) => Err(EvalError::Outputs(format!("maps of {} and {} images", maps[0].images, map.images))),
        None => Ok(()),
    }
}

/// The threshold, and a little less than it as a logit, to look before the sigmoid.
#[derive(Clone, Copy)]
struct Passes {
    logit: f32,
    options: DecodeOptions,
}

fn logit(share: f32) -> f32 {
    if share <= 0.0 { f32::NEG_INFINITY } else { (share / (1.0 - share)).ln() }
}

/// Calls `each(place)` where `plane` exceeds the logit; looks at whole rows of places at once.
fn where_above(plane: &[f32], logit: f32, mut each: impl FnMut(usize)) {
    const STEP: usize = 32;
    for (index, chunk) in plane.chunks(STEP).enumerate() {
        if chunk.iter().fold(false, |any, &value| any | (value > logit)) {
            for (offset, _) in chunk.iter().enumerate().filter(|&(_, &value)| value > logit) {
                each(index * STEP + offset);
            }
        }
    }
}

/// Pushes a box, if it is finite.
pub(super) fn push(found: &mut Vec<Detection>, corners: Corners, confidence: f32, class: usize) {
    if corners.iter().all(|side| side.is_finite()) {
        found.push(Detection { corners, confidence, class });
    }
}

/// Pushes the classes of a place that pass: all of them or the first best. `box_of` is asked only if one does.
pub(super) fn push_classes(
    found: &mut Vec<Detection>,
    confidences: impl Iterator<Item = f32>,
    options: DecodeOptions,
    box_of: impl FnOnce() -> Corners,
) {
    let mut passing = confidences.enumerate().filter(|&(_, confidence)| confidence > options.confidence);
    let Some(first) = passing.next() else { return };
    let corners = box_of();
    if options.multi_label {
        std::iter::once(first).chain(passing).for_each(|(class, confidence)| push(found, corners, confidence, class));
    } else {
        let (class, confidence) = passing.fold(first, |best, other| if other.1 > best.1 { other } else { best });
        push(found, corners, confidence, class);
    }
}

fn anchor_level(level: &Level, anchors: &[[f32; 2]], stride: f32, passes: Passes, found: &mut Vec<Detection>) {
    let values = level.channels() / anchors.len().max(1);
    for (index, anchor) in anchors.iter().enumerate() {
        let base = index * values;
        where_above(level.channel(base + 4), passes.logit, |place| {
            let objectness = sigmoid_of(level.at(base + 4, place));
            if objectness <= passes.options.confidence {
                return;
            }
            let confidences =
                (base + 5..base + values).map(|channel| objectness * sigmoid_of(level.at(channel, place)));
            push_classes(found, confidences, passes.options, || {
                let twice = |channel: usize| 2.0 * sigmoid_of(level.at(base + channel, place));
                let [column, row] = level.cell(place);
                let [x, y] = [(twice(0) - 0.5 + column) * stride, (twice(1) - 0.5 + row) * stride];
                let [w, h] = [twice(2).powi(2) * anchor[0], twice(3).powi(2) * anchor[1]];
                Centred { cx: x, cy: y, w, h }.corners()
            });
        });
    }
}

fn distribution_level(sides: &Level, scores: &Level, stride: f32, passes: Passes, found: &mut Vec<Detection>) {
    let (bins, classes) = (sides.channels() / 4, scores.channels());
    let mut candidates = vec![false; scores.places];
    for class in 0..classes {
        where_above(scores.channel(class), passes.logit, |place| candidates[place] = true);
    }
    for place in candidates.iter().enumerate().filter_map(|(place, &candidate)| candidate.then_some(place)) {
        let confidences = (0..classes).map(|class| sigmoid_of(scores.at(class, place)));
        push_classes(found, confidences, passes.options, || {
            let distance = |side: usize| stride * expectation((0..bins).map(|bin| sides.at(side * bins + bin, place)));
            let [column, row] = scores.cell(place);
            let [x, y] = [(column + 0.5) * stride, (row + 0.5) * stride];
            [x - distance(0), y - distance(1), x + distance(2), y + distance(3)]
        });
    }
}

/// Σ i · softmax(logits)ᵢ.
fn expectation(logits: impl Iterator<Item = f32> + Clone) -> f32 {
    let most = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.enumerate() {
        let weight = (logit - most).exp();
        sum += weight;
        weighted += weight * bin as f32;
    }
    weighted / sum
}

#[cfg(test)]
mod tests;
