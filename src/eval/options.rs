//! What evaluation, prediction and measurements can be asked for.

use super::average_precision::Rule;
use super::error::EvalError;
use super::subject::Subject;
use crate::exec::ComputeDtype;
use crate::options::{Options, SPLITS, options};

options! {
    /// How a detector is evaluated.
    #[serde(default)]
    pub struct EvaluateOptions {
        /// Side of the square images in pixels; a multiple of the model's largest stride.
        pub size: usize = 640, 32..=8192;
        /// The split whose labels count.
        pub split: String = "val".into(), SPLITS;
        /// Boxes of at most this confidence are dropped.
        #[serde(alias = "confidence")]
        pub conf: f32 = 0.001, 0.0..=1.0;
        /// Intersection over union with a better box of its class above which a box goes; by default what the model's
        /// family is evaluated with: 0.6 for YOLOv5, 0.7 for YOLOv8.
        pub iou: Option<f32> = None, 0.0..=1.0;
        /// Whose rule average precision follows.
        #[serde(alias = "rule")]
        pub metric: Rule = Rule::default();
        /// Boxes kept an image.
        #[serde(alias = "max_detections")]
        pub max_det: usize = 300, 1..=30_000;
        /// Images a batch.
        pub batch: usize = 16, 1..=4096;
        /// What convolutions multiply: fp32, or bf16, for which a CPU with AVX-512 BF16 is needed.
        pub precision: ComputeDtype = ComputeDtype::Fp32;
    }
}

options! {
    /// Which boxes a confusion matrix counts.
    #[derive(Copy)]
    #[serde(default)]
    pub struct ConfusionOptions {
        /// Boxes of at most this confidence do not count.
        #[serde(alias = "confidence")]
        pub conf: f32 = 0.25, 0.0..=1.0;
        /// Intersection over union above which a box found stands for a labelled one, of whatever class.
        pub iou: f32 = 0.45, 0.0..=1.0;
    }
}

options! {
    /// How boxes are chosen in an image.
    #[derive(Copy)]
    #[serde(default)]
    pub struct PredictOptions {
        /// Side of the square that the image is fitted into, in pixels; a multiple of the model's largest stride.
        pub size: usize = 640, 32..=8192;
        /// Boxes of at most this confidence are dropped.
        #[serde(alias = "confidence")]
        pub conf: f32 = 0.25, 0.0..=1.0;
        /// Intersection over union with a better box of its class above which a box goes; by default what the model's
        /// family predicts with: 0.45 for YOLOv5, 0.7 for YOLOv8.
        pub iou: Option<f32> = None, 0.0..=1.0;
        /// Boxes kept.
        #[serde(alias = "max_detections")]
        pub max_det: usize = 300, 1..=30_000;
        /// What convolutions multiply: fp32, or bf16, for which a CPU with AVX-512 BF16 is needed.
        pub precision: ComputeDtype = ComputeDtype::Fp32;
    }
}

options! {
    /// How a measurement of speed is made.
    #[derive(Copy, Eq)]
    #[serde(default)]
    pub struct BenchOptions {
        /// Side of the square images in pixels; a multiple of the model's largest stride.
        pub size: usize = 640, 32..=8192;
        /// Images a batch.
        pub batch: usize = 1, 1..=4096;
        /// Runs that count.
        pub runs: usize = 20, 1..=1_000_000;
        /// Runs before those.
        pub warm_up: usize = 3, 0..=1_000_000;
        /// CPU threads; by default as many as there are.
        pub threads: Option<usize> = None, 1..=1024;
        /// What convolutions multiply: fp32, or bf16, for which a CPU with AVX-512 BF16 is needed.
        pub precision: ComputeDtype = ComputeDtype::Fp32;
    }
}

options! {
    /// On which images statistics of activations and gradients are taken.
    #[derive(Eq)]
    #[serde(default)]
    pub struct ActivationOptions {
        /// Side of the square images in pixels; a multiple of the model's largest stride.
        pub size: usize = 640, 32..=8192;
        /// Images to look at, from the start of the split; all if it has fewer.
        pub images: usize = 32, 1..=1_000_000;
        /// Images a batch.
        pub batch: usize = 8, 1..=4096;
        /// The split they are from.
        pub split: String = "train".into(), SPLITS;
    }
}

impl BenchOptions {
    /// Checks the options, and that what is measured can run at that size and on that many images.
    ///
    /// # Errors
    /// Names the option, with what is allowed.
    pub fn validate<'a>(&self, model: impl Into<Subject<'a>>) -> Result<(), EvalError> {
        let subject = model.into();
        check(subject, self, self.size)?;
        Ok(subject.check_batch(self.batch)?)
    }
}

/// Checks options, and that what they are for can run on square images of `size` pixels.
pub(super) fn check(subject: Subject, options: &impl Options, size: usize) -> Result<(), EvalError> {
    options.check()?;
    Ok(subject.check_size(size)?)
}
