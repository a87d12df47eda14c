//! The loss that fits a model's head.

use candle_core::Tensor;

use super::{anchors::AnchorLoss, distribution::DistributionLoss, error::LossError, gains::Gains, value::Loss};
use crate::{
    boxes::Truth,
    data::Target,
    model::{Detector, Head},
};

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
            ("box", gains.box_gain),
            ("class", gains.class_gain),
            ("objectness", gains.objectness_gain),
            ("dfl", gains.dfl_gain),
        ];
        for (part, gain) in named {
            if let Some(value) = gain.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(LossError::Gain { part, value });
            }
        }
        let rule = match &detector.head {
            Head::Anchors { anchors } => {
                if gains.dfl_gain.is_some() {
                    return Err(LossError::NoSuchPart { head: "YOLOv5", part: "dfl" });
                }
                let mut loss = AnchorLoss::new(detector, anchors);
                loss.box_gain = gains.box_gain.unwrap_or(loss.box_gain);
                loss.class_gain = gains.class_gain.unwrap_or(loss.class_gain);
                loss.objectness_gain = gains.objectness_gain.unwrap_or(loss.objectness_gain);
                Rule::Anchors(loss)
            }
            Head::Distribution { reg_max } => {
                if gains.objectness_gain.is_some() {
                    return Err(LossError::NoSuchPart { head: "YOLOv8", part: "objectness" });
                }
                let mut loss = DistributionLoss::new(detector, *reg_max);
                loss.box_gain = gains.box_gain.unwrap_or(loss.box_gain);
                loss.class_gain = gains.class_gain.unwrap_or(loss.class_gain);
                loss.distribution_gain = gains.dfl_gain.unwrap_or(loss.distribution_gain);
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
