//! The boxes that a detector sees in images.

use std::path::Path;

use candle_core::Device;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{
    decode::{DecodeOptions, decode},
    detection::Detection,
    error::EvalError,
    nms::{NmsOptions, suppress},
    options::{check_size, within},
};
use crate::{
    data::{letterbox_tensor, read_image},
    exec::Inference,
    model::{Detector, Head, Model},
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

/// A detector made ready to look at many images: its normalisations are folded into its convolutions and its weights
/// packed once.
///
/// ```
/// use espalier::{
///     data::{ShapesOptions, shapes},
///     eval::{PredictOptions, Predictor},
/// };
///
/// let model = espalier::io::teacher()?;
/// let mut options = PredictOptions::default();
/// options.size = 160;
/// let predictor = Predictor::new(&model, options)?;
///
/// let data = shapes(&ShapesOptions::default())?;
/// let image = data.split("val")?.image(0)?;
/// for found in predictor.predict(&image)? {
///     let name = &model.detector().classes[found.class];
///     println!("{name} at {:?}, {:.0} % sure", found.corners, 100.0 * found.confidence);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Predictor {
    detector: Detector,
    device: Device,
    network: Inference,
    options: PredictOptions,
}

impl Predictor {
    /// Makes a model ready.
    ///
    /// # Errors
    /// Options out of range, or a model that cannot be prepared.
    pub fn new(model: &Model, options: PredictOptions) -> Result<Self, EvalError> {
        check_size(model, options.size)?;
        within("confidence", options.confidence, 0.0..=1.0)?;
        within("iou", options.iou.unwrap_or(0.5), 0.0..=1.0)?;
        within("max_detections", options.max_detections, 1..=30_000)?;
        let network = Inference::new(model, &[])?;
        Ok(Self { detector: model.detector().clone(), device: model.device(), network, options })
    }

    /// The boxes in an image, most confident first, in its pixels, each of its best class.
    ///
    /// # Errors
    /// Where the network does not run.
    pub fn predict(&self, image: &RgbImage) -> Result<Vec<Detection>, EvalError> {
        let (pixels, fit) = letterbox_tensor(image, self.options.size)?;
        let outputs = self.network.run(&pixels.to_device(&self.device)?)?.outputs;
        let decoding = DecodeOptions { confidence: self.options.confidence, multi_label: false };
        let candidates = decode(&self.detector, &outputs, decoding)?.into_iter().flatten().collect();
        let limits = [image.width() as f32, image.height() as f32];
        let in_image = |found: Detection| {
            let [left, top, right, bottom] = fit.to_image(found.corners);
            let [x, y] = limits.map(|limit| move |side: f32| side.clamp(0.0, limit));
            Detection { corners: [x(left), y(top), x(right), y(bottom)], ..found }
        };
        Ok(suppress(candidates, self.nms()).into_iter().map(in_image).collect())
    }

    /// [`Predictor::predict`] for an image file: JPEG, PNG, BMP or WebP.
    ///
    /// # Errors
    /// A file that is no readable image, a network that does not run.
    pub fn predict_file(&self, image: impl AsRef<Path>) -> Result<Vec<Detection>, EvalError> {
        self.predict(&read_image(image)?)
    }

    fn nms(&self) -> NmsOptions {
        let iou = self.options.iou.unwrap_or(match self.detector.head {
            Head::Anchors { .. } => 0.45,
            Head::Distribution { .. } => 0.7,
        });
        NmsOptions { iou, max_detections: self.options.max_detections, ..NmsOptions::default() }
    }
}
