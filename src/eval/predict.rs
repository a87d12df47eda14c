//! The boxes that a detector sees in images.

use std::path::Path;

use espalier_kernels::allocator::Borrowing;
use image::RgbImage;

use super::{
    candidates::UsualIou,
    decode::DecodeOptions,
    detection::Detection,
    error::EvalError,
    network::Network,
    options::{self, PredictOptions},
    subject::Subject,
};
use crate::data::{letterbox_tensor, read_image};

/// A detector, a model of ours or an ONNX file, made ready to look at many images: of a model, normalisations are folded into
/// convolutions and weights packed once.
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
    network: Network,
    options: PredictOptions,
    /// What its runs borrow goes back with it.
    _memory: Borrowing,
}

impl Predictor {
    /// Makes a model ready.
    ///
    /// # Errors
    /// Options out of range, or a model that cannot be prepared.
    pub fn new<'a>(model: impl Into<Subject<'a>>, options: PredictOptions) -> Result<Self, EvalError> {
        let subject = model.into();
        options::check(subject, &options, options.size)?;
        Ok(Self { network: Network::new(subject, options.precision, None)?, options, _memory: Borrowing::begin() })
    }

    /// The boxes in an image, most confident first, in its pixels, each of its best class.
    ///
    /// # Errors
    /// Where the network does not run.
    pub fn predict(&self, image: &RgbImage) -> Result<Vec<Detection>, EvalError> {
        let (pixels, fit) = letterbox_tensor(image, self.options.size)?;
        let PredictOptions { conf, iou, max_det, .. } = self.options;
        let decoding = DecodeOptions { confidence: conf, multi_label: false };
        let candidates = self.network.candidates(&self.network.run(&pixels)?, decoding)?;
        let found = candidates.images.into_iter().flatten().collect();
        let usual = UsualIou { anchors: 0.45, distribution: 0.7 };
        let kept = candidates.suppression.kept(found, iou, usual, max_det);
        let limits = [image.width() as f32, image.height() as f32];
        let in_image = |found: Detection| {
            let [left, top, right, bottom] = fit.to_image(found.corners);
            let [x, y] = limits.map(|limit| move |side: f32| side.clamp(0.0, limit));
            Detection { corners: [x(left), y(top), x(right), y(bottom)], ..found }
        };
        Ok(kept.into_iter().map(in_image).collect())
    }

    /// [`Predictor::predict`] for an image file: JPEG, PNG, BMP or WebP.
    ///
    /// # Errors
    /// A file that is no readable image, a network that does not run.
    pub fn predict_file(&self, image: impl AsRef<Path>) -> Result<Vec<Detection>, EvalError> {
        self.predict(&read_image(image)?)
    }
}
