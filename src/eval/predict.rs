//! The boxes that a detector sees in one image.

use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{
    DecodeOptions, Detection, EvalError, NmsOptions, decode,
    options::{check_size, within},
    suppress,
};
use crate::{
    data::{letterbox_tensor, read_image},
    exec,
    model::{Head, Model},
};

/// How boxes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictOptions {
    /// Side of the square that the image is fitted into, in pixels; a multiple of the model's largest stride.
    pub size: usize,
    /// Boxes of at most this confidence are dropped.
    pub confidence: f32,
    /// Boxes go that overlap a better one of their class by more than this intersection over union; `None` for the
    /// value that the model's family predicts with: 0.45 for YOLOv5, 0.7 for YOLOv8.
    pub iou: Option<f32>,
    /// Boxes kept.
    pub max_detections: usize,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self { size: 640, confidence: 0.25, iou: None, max_detections: 300 }
    }
}

/// The boxes in an image file (JPEG, PNG, BMP, WebP), most confident first, in its pixels, each of its best class.
///
/// # Errors
/// Options out of range, a file that is no readable image, a network that does not run.
pub fn predict(model: &Model, image: impl AsRef<Path>, options: &PredictOptions) -> Result<Vec<Detection>, EvalError> {
    predict_image(model, &read_image(image)?, options)
}

/// [`predict`] for an image in memory.
///
/// # Errors
/// Options out of range, a network that does not run.
pub fn predict_image(model: &Model, image: &RgbImage, options: &PredictOptions) -> Result<Vec<Detection>, EvalError> {
    check_size(model, options.size)?;
    within("confidence", options.confidence, 0.0..=1.0)?;
    within("iou", options.iou.unwrap_or(0.5), 0.0..=1.0)?;
    within("max_detections", options.max_detections, 1..=30_000)?;
    let (pixels, fit) = letterbox_tensor(image, options.size)?;
    let outputs = exec::infer(model, &pixels.to_device(&model.device())?, &[])?.outputs;
    let iou = options.iou.unwrap_or(match model.detector().head {
        Head::Anchors { .. } => 0.45,
        Head::Distribution { .. } => 0.7,
    });
    let decoding = DecodeOptions { confidence: options.confidence, multi_label: false };
    let candidates = decode(model.detector(), &outputs, decoding)?.into_iter().flatten().collect();
    let nms = NmsOptions { iou, max_detections: options.max_detections, ..NmsOptions::default() };
    let limits = [image.width() as f32, image.height() as f32];
    let in_image = |found: Detection| {
        let [left, top, right, bottom] = fit.to_image(found.corners);
        let [x, y] = limits.map(|limit| move |side: f32| side.clamp(0.0, limit));
        Detection { corners: [x(left), y(top), x(right), y(bottom)], ..found }
    };
    Ok(suppress(candidates, nms).into_iter().map(in_image).collect())
}
