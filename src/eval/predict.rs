//! The boxes that a detector sees in images.

use std::path::Path;

use candle_core::Device;
use espalier_kernels::allocator::Borrowing;
use image::RgbImage;

use super::{
    decode::{DecodeOptions, decode},
    detection::Detection,
    error::EvalError,
    nms::{NmsOptions, suppress},
    options::{self, PredictOptions},
};
use crate::{
    data::{letterbox_tensor, read_image},
    exec::{Inference, transfer},
    model::{Detector, Head, Model},
};

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
    /// What its runs borrow goes back with it.
    _memory: Borrowing,
}

impl Predictor {
    /// Makes a model ready.
    ///
    /// # Errors
    /// Options out of range, or a model that cannot be prepared.
    pub fn new(model: &Model, options: PredictOptions) -> Result<Self, EvalError> {
        options::check(model, &options, options.size)?;
        let network = Inference::new(model, &[])?;
        Ok(Self {
            detector: model.detector().clone(),
            device: model.device(),
            network,
            options,
            _memory: Borrowing::begin(),
        })
    }

    /// The boxes in an image, most confident first, in its pixels, each of its best class.
    ///
    /// # Errors
    /// Where the network does not run.
    pub fn predict(&self, image: &RgbImage) -> Result<Vec<Detection>, EvalError> {
        let (pixels, fit) = letterbox_tensor(image, self.options.size)?;
        let outputs = self.network.run(&transfer::up_one(&pixels, &self.device)?)?.outputs;
        let decoding = DecodeOptions { confidence: self.options.conf, multi_label: false };
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
        NmsOptions { iou, max_detections: self.options.max_det, ..NmsOptions::default() }
    }
}
