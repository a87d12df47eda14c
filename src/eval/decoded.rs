//! Boxes of outputs that a file has decoded already, in the layouts of YOLOv5's and of Ultralytics' exporters.

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::decode::{DecodeOptions, push, push_classes};
use super::detection::Detection;
use super::error::EvalError;
use crate::boxes::{Centred, Corners};
use crate::io::onnx::{Boxes, Layout};

/// The boxes of every image of a batch in pixels of the network's input, in the order of the output. Boxes that are not
/// finite are dropped, and so are those of classes that there are not.
///
/// # Errors
/// Where the output is not laid out as it is said to be.
pub(super) fn decoded(boxes: &Boxes, classes: usize, options: DecodeOptions) -> Result<Vec<Vec<Detection>>, EvalError> {
    let (images, rows, columns) = boxes.values.dims3()?;
    let numbers: Vec<f32> = boxes.values.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let (places, values, expected) = match boxes.layout {
        Layout::ByPlace => (rows, columns, 5 + classes),
        Layout::ByValue => (columns, rows, 4 + classes),
        Layout::Suppressed => (rows, columns, 6),
    };
    if values != expected {
        return Err(EvalError::Outputs(format!("expected {expected} values for each place, found {values}")));
    }
    let one = |image: usize| {
        let numbers = &numbers[image * places * values..][..places * values];
        let at = |place: usize, value: usize| match boxes.layout {
            Layout::ByPlace | Layout::Suppressed => numbers[place * values + value],
            Layout::ByValue => numbers[value * places + place],
        };
        let row = |place: usize| -> [f32; 4] { std::array::from_fn(|value| at(place, value)) };
        let mut found = Vec::new();
        for place in 0..places {
            match boxes.layout {
                Layout::Suppressed => {
                    let (confidence, class) = (at(place, 4), at(place, 5));
                    if confidence > options.confidence && (0.0..classes as f32).contains(&class) {
                        push(&mut found, row(place), confidence, class as usize);
                    }
                }
                Layout::ByPlace => {
                    let objectness = at(place, 4);
                    if objectness > options.confidence {
                        let confidences = (0..classes).map(|class| objectness * at(place, 5 + class));
                        push_classes(&mut found, confidences, options, || corners(row(place)));
                    }
                }
                Layout::ByValue => {
                    let confidences = (0..classes).map(|class| at(place, 4 + class));
                    push_classes(&mut found, confidences, options, || corners(row(place)));
                }
            }
        }
        found
    };
    Ok((0..images).into_par_iter().map(one).collect())
}

fn corners([cx, cy, w, h]: [f32; 4]) -> Corners {
    Centred { cx, cy, w, h }.corners()
}
