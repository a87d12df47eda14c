//! Detection losses: raw head outputs and targets give a loss and its gradient with respect to the outputs.
//!
//! The gradients are derived by hand and computed on flat slices, an image a thread, always on the CPU: outputs of
//! another device are copied over and the gradients copied back, so that one tested path serves all devices.

mod anchors;
mod assigner;
mod ciou;
mod distribution;
mod maps;

pub use anchors::objectness_balance;

use anchors::AnchorLoss;
use candle_core::Tensor;
use distribution::DistributionLoss;
use thiserror::Error;

use crate::{
    boxes::Truth,
    data::Target,
    model::{Detector, Head},
};

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The sum of the weighted parts times the batch, as the YOLO trainers minimise it.
    pub total: f32,
    /// The weighted parts, by the names that `results.csv` has.
    pub parts: Vec<(&'static str, f32)>,
    /// The gradient of `total` with respect to each output, of the output's shape, on its device.
    pub gradients: Vec<Tensor>,
}

/// Weights of a loss's parts; `None` takes the published default of the model's own loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gains {
    /// Weight of the box overlap; 0.05 for YOLOv5, 7.5 for YOLOv8.
    pub bbox: Option<f32>,
    /// Weight of the class scores; 0.5 for both.
    pub class: Option<f32>,
    /// Weight of the objectness; 1 for YOLOv5, which alone has one.
    pub objectness: Option<f32>,
    /// Weight of the distribution focal loss; 1.5 for YOLOv8, which alone has one.
    pub distribution: Option<f32>,
}

impl Gains {
    /// The weights that a detector is trained with for images of `size` pixels: what is `None` here is the default
    /// scaled as YOLOv5's trainer does it, so that many classes, large images and more levels do not outweigh the boxes:
    /// all by 3 / levels, the class loss by classes / 80, the objectness by (size / 640)². YOLOv8 scales nothing.
    pub fn for_training(&self, detector: &Detector, size: usize) -> Self {
        match &detector.head {
            Head::Anchors { anchors } => {
                let levels = 3.0 / anchors.len().max(1) as f32;
                let image = (size as f32 / 640.0).powi(2);
                Self {
                    bbox: self.bbox.or(Some(0.05 * levels)),
                    class: self.class.or(Some(0.5 * levels * detector.classes.len() as f32 / 80.0)),
                    objectness: self.objectness.or(Some(levels * image)),
                    distribution: self.distribution,
                }
            }
            Head::Distribution { .. } => *self,
        }
    }
}

/// What can be wrong with a loss.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LossError {
    /// Outputs that are not those of the model the loss was made for.
    #[error("the loss expected {expected} head outputs with {channels:?} channels, found shapes {found:?}")]
    Outputs {
        /// How many there should be.
        expected: usize,
        /// Their channels.
        channels: Vec<usize>,
        /// The shapes that were given.
        found: Vec<Vec<usize>>,
    },
    /// A target outside the batch or the model's classes.
    #[error("target {index} is of image {image} and class {class}, but there are {batch} images and {classes} classes")]
    Target {
        /// Its place in the list.
        index: usize,
        /// Its image.
        image: usize,
        /// Its class.
        class: usize,
        /// Images of the batch.
        batch: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// A weight that the model's loss has no part for.
    #[error("a {head} model has no {part} loss; leave its weight out")]
    NoSuchPart {
        /// Kind of the model's head.
        head: &'static str,
        /// The part.
        part: &'static str,
    },
    /// A weight that is negative or no number.
    #[error("the weight of the {part} loss is {value}; expected a number of at least 0")]
    Gain {
        /// The part.
        part: &'static str,
        /// The weight given.
        value: f32,
    },
    /// A detector whose facts make no sense.
    #[error("there is no loss for this detector: {0}")]
    Detector(String),
    /// Tensors could not be read or made.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The loss that fits a model's head.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionLoss {
    rule: Rule,
    channels: Vec<usize>,
    classes: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Anchors(AnchorLoss),
    Distribution(DistributionLoss),
}

impl DetectionLoss {
    /// The loss of a detector, with other weights where `gains` has them.
    ///
    /// # Errors
    /// A weight that is negative, or of a part that this head's loss does not have; a detector that makes no sense.
    pub fn new(detector: &Detector, gains: &Gains) -> Result<Self, LossError> {
        detector.check().map_err(LossError::Detector)?;
        let named = [
            ("box", gains.bbox),
            ("class", gains.class),
            ("objectness", gains.objectness),
            ("dfl", gains.distribution),
        ];
        for (part, gain) in named {
            if let Some(value) = gain.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(LossError::Gain { part, value });
            }
        }
        let rule = match &detector.head {
            Head::Anchors { anchors } => {
                if gains.distribution.is_some() {
                    return Err(LossError::NoSuchPart { head: "YOLOv5", part: "dfl" });
                }
                let mut loss = AnchorLoss::new(detector, anchors);
                loss.box_gain = gains.bbox.unwrap_or(loss.box_gain);
                loss.class_gain = gains.class.unwrap_or(loss.class_gain);
                loss.objectness_gain = gains.objectness.unwrap_or(loss.objectness_gain);
                Rule::Anchors(loss)
            }
            Head::Distribution { reg_max } => {
                if gains.objectness.is_some() {
                    return Err(LossError::NoSuchPart { head: "YOLOv8", part: "objectness" });
                }
                let mut loss = DistributionLoss::new(detector, *reg_max);
                loss.box_gain = gains.bbox.unwrap_or(loss.box_gain);
                loss.class_gain = gains.class.unwrap_or(loss.class_gain);
                loss.distribution_gain = gains.distribution.unwrap_or(loss.distribution_gain);
                Rule::Distribution(loss)
            }
        };
        Ok(Self { rule, channels: detector.channels(), classes: detector.classes.len() })
    }

    /// Names of the parts, in the order that [`Loss::parts`] has them.
    pub fn part_names(&self) -> [&'static str; 3] {
        match &self.rule {
            Rule::Anchors(_) => ["box_loss", "obj_loss", "cls_loss"],
            Rule::Distribution(_) => ["box_loss", "cls_loss", "dfl_loss"],
        }
    }

    /// The loss of raw head outputs (n, channels, h, w), as [`crate::exec::Values::outputs`] has them.
    ///
    /// # Errors
    /// Outputs of other shapes than the model's, or targets of images or classes that are not there.
    pub fn compute(&self, outputs: &[Tensor], targets: &[Target]) -> Result<Loss, LossError> {
        let batch = self.check(outputs, targets)?;
        debug_assert!(batch > 0);
        match &self.rule {
            Rule::Anchors(loss) => loss.compute(outputs, targets),
            Rule::Distribution(loss) => loss.compute(outputs, targets),
        }
    }

    fn check(&self, outputs: &[Tensor], targets: &[Target]) -> Result<usize, LossError> {
        let batch = outputs.first().and_then(|output| output.dims().first()).copied().unwrap_or(0);
        let fits = |(output, &channels): (&Tensor, &usize)| match *output.dims() {
            [n, c, _, _] => n == batch && c == channels,
            _ => false,
        };
        if batch == 0 || outputs.len() != self.channels.len() || !outputs.iter().zip(&self.channels).all(fits) {
            return Err(LossError::Outputs {
                expected: self.channels.len(),
                channels: self.channels.clone(),
                found: outputs.iter().map(|output| output.dims().to_vec()).collect(),
            });
        }
        for (index, &Target { image, truth: Truth { class, .. } }) in targets.iter().enumerate() {
            if image >= batch || class >= self.classes {
                return Err(LossError::Target { index, image, class, batch, classes: self.classes });
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests;
