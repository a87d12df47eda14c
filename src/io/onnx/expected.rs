//! What an exported file should give: our own run of the model, and the decoding of its maps place by place, written down
//! once more, in plain loops.

use candle_core::{Result, Tensor};

use super::options::ExportOptions;
use crate::boxes::{Centred, iou};
use crate::model::{Detector, Head, OutputKind};

/// The numbers of a map, and how to find one.
struct Map {
    numbers: Vec<f32>,
    channels: usize,
    height: usize,
    width: usize,
}

impl Map {
    fn new(map: &Tensor) -> Result<Self> {
        let (_, channels, height, width) = map.dims4()?;
        Ok(Self { numbers: map.flatten_all()?.to_vec1()?, channels, height, width })
    }

    fn at(&self, image: usize, channel: usize, row: usize, column: usize) -> f64 {
        f64::from(self.numbers[((image * self.channels + channel) * self.height + row) * self.width + column])
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The whole decoded output of a detector for its raw maps: (n, 4 + classes, places) for YOLOv8, (n, places, 5 + classes)
/// for YOLOv5.
///
/// # Errors
/// Where the maps cannot be read.
pub(super) fn decoded(detector: &Detector, maps: &[Tensor]) -> Result<Tensor> {
    let images = maps.first().map_or(Ok(0), |map| map.dim(0))?;
    let of_kind = |kind| detector.by_level(kind, maps).into_iter().map(Map::new).collect::<Result<Vec<_>>>();
    let mut rows: Vec<f32> = Vec::new();
    let values = match &detector.head {
        Head::Anchors { anchors } => {
            let maps = of_kind(OutputKind::Anchors)?;
            for image in 0..images {
                for ((map, anchors), &stride) in maps.iter().zip(anchors).zip(&detector.strides) {
                    anchor_rows(map, image, anchors, stride as f64, &mut rows);
                }
            }
            5 + detector.classes.len()
        }
        Head::Distribution { reg_max } => {
            let (sides, scores) = (of_kind(OutputKind::Boxes)?, of_kind(OutputKind::Classes)?);
            for image in 0..images {
                for ((sides, scores), &stride) in sides.iter().zip(&scores).zip(&detector.strides) {
                    distance_rows([sides, scores], image, *reg_max, stride as f64, &mut rows);
                }
            }
            4 + detector.classes.len()
        }
    };
    let rows = Tensor::from_vec(rows, (images, (), values), &candle_core::Device::Cpu)?;
    match &detector.head {
        Head::Anchors { .. } => Ok(rows),
        Head::Distribution { .. } => rows.transpose(1, 2)?.contiguous(),
    }
}

fn anchor_rows(map: &Map, image: usize, anchors: &[[f32; 2]], stride: f64, rows: &mut Vec<f32>) {
    let values = map.channels / anchors.len().max(1);
    for (index, anchor) in anchors.iter().enumerate() {
        for row in 0..map.height {
            for column in 0..map.width {
                let share = |value: usize| sigmoid(map.at(image, index * values + value, row, column));
                let centre = |value: usize, cell: usize| (2.0 * share(value) - 0.5 + cell as f64) * stride;
                let size = |value: usize| (2.0 * share(value + 2)).powi(2) * f64::from(anchor[value]);
                rows.extend([centre(0, column), centre(1, row), size(0), size(1)].map(|number| number as f32));
                rows.extend((4..values).map(|value| share(value) as f32));
            }
        }
    }
}

fn distance_rows([sides, scores]: [&Map; 2], image: usize, reg_max: usize, stride: f64, rows: &mut Vec<f32>) {
    for row in 0..sides.height {
        for column in 0..sides.width {
            let distance = |side: usize| {
                let bins = (0..reg_max).map(|bin| sides.at(image, side * reg_max + bin, row, column).exp());
                let (sum, moment) = bins
                    .enumerate()
                    .fold((0.0, 0.0), |(sum, moment), (bin, share)| (sum + share, moment + bin as f64 * share));
                moment / sum
            };
            let [left, top, right, bottom] = [0, 1, 2, 3].map(distance);
            let [x, y] =
                [(column, right - left), (row, bottom - top)].map(|(cell, shift)| cell as f64 + 0.5 + shift / 2.0);
            rows.extend([x, y, left + right, top + bottom].map(|number| (number * stride) as f32));
            rows.extend((0..scores.channels).map(|class| sigmoid(scores.at(image, class, row, column)) as f32));
        }
    }
}

/// A box as a row: left, top, right, bottom, confidence, class.
type Row = [f32; 6];

/// The best class of every place of the decoded output for one image.
fn best(detector: &Detector, decoded: &Tensor) -> Result<Vec<Row>> {
    let rows = match &detector.head {
        Head::Anchors { .. } => decoded.squeeze(0)?,
        Head::Distribution { .. } => decoded.squeeze(0)?.t()?.contiguous()?,
    };
    let row = |values: Vec<f32>| {
        let (centred, shares) = values.split_at(4);
        let (object, shares) = match &detector.head {
            Head::Anchors { .. } => (shares[0], &shares[1..]),
            Head::Distribution { .. } => (1.0, shares),
        };
        let confidences = shares.iter().map(|&share| object * share);
        let better = |best: (usize, f32), (class, confidence): (usize, f32)| {
            if confidence > best.1 { (class, confidence) } else { best }
        };
        let (class, confidence) = confidences.enumerate().fold((0, f32::NEG_INFINITY), better);
        let centred = Centred { cx: centred[0], cy: centred[1], w: centred[2], h: centred[3] };
        let [left, top, right, bottom] = centred.corners();
        [left, top, right, bottom, confidence, class as f32]
    };
    Ok(rows.to_vec2::<f32>()?.into_iter().map(row).collect())
}

/// The confidence of every place of the decoded output for one image.
///
/// # Errors
/// Where the output cannot be read.
pub(super) fn confidences(detector: &Detector, decoded: &Tensor) -> Result<Vec<f32>> {
    Ok(best(detector, decoded)?.into_iter().map(|row| row[4]).collect())
}

/// Of the decoded output for one image, the rows that non-maximum suppression keeps: (1, `max_det`, 6), as the graph's
/// suppression has them.
///
/// # Errors
/// Where the output cannot be read.
pub(super) fn kept(detector: &Detector, decoded: &Tensor, options: &ExportOptions) -> Result<Tensor> {
    let mut boxes: Vec<Row> = best(detector, decoded)?.into_iter().filter(|row| row[4] > options.conf).collect();
    boxes.sort_by(|a, b| b[4].total_cmp(&a[4]));
    let limit = options.iou_of(&detector.head);
    let corners = |row: &Row| [row[0], row[1], row[2], row[3]];
    let mut kept: Vec<Row> = Vec::new();
    for row in boxes {
        let hidden = |other: &Row| other[5] == row[5] && iou(corners(other), corners(&row)) > limit;
        if kept.len() < options.max_det && !kept.iter().any(hidden) {
            kept.push(row);
        }
    }
    kept.resize(options.max_det, [0.0; 6]);
    Tensor::from_vec(kept.concat(), (1, options.max_det, 6), &candle_core::Device::Cpu)
}
