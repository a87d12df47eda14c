//! Boxes before non-maximum suppression, and what stays of them.

use candle_core::Tensor;

use super::decode::{DecodeOptions, decode};
use super::decoded::decoded;
use super::detection::Detection;
use super::error::EvalError;
use super::nms::{NmsOptions, suppress};
use crate::io::onnx::{Boxes, Layout};
use crate::model::{Detector, Head};

/// Boxes of every image of a batch in pixels of the network's input.
pub(super) struct Candidates {
    /// An image each.
    pub images: Vec<Vec<Detection>>,
    /// Which of them go.
    pub suppression: Suppression,
}

/// Which boxes go where others are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suppression {
    /// Those that overlap a better one, as YOLOv5 has it.
    Anchors,
    /// The same, as YOLOv8 has it.
    Distribution,
    /// None: the network has done it.
    Done,
}

/// Intersections over union above which boxes go where none is asked for.
#[derive(Clone, Copy)]
pub(super) struct UsualIou {
    /// YOLOv5's.
    pub anchors: f32,
    /// YOLOv8's.
    pub distribution: f32,
}

impl Candidates {
    /// Those in a detector's raw maps.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn of_maps(detector: &Detector, maps: &[Tensor], options: DecodeOptions) -> Result<Self, EvalError> {
        let suppression = match detector.head {
            Head::Anchors { .. } => Suppression::Anchors,
            Head::Distribution { .. } => Suppression::Distribution,
        };
        Ok(Self { images: decode(detector, maps, options)?, suppression })
    }

    /// Those that a file has decoded.
    ///
    /// # Errors
    /// As [`decoded`].
    pub fn of_boxes(boxes: &Boxes, classes: usize, options: DecodeOptions) -> Result<Self, EvalError> {
        let suppression = match boxes.layout {
            Layout::ByPlace => Suppression::Anchors,
            Layout::ByValue => Suppression::Distribution,
            Layout::Suppressed => Suppression::Done,
        };
        Ok(Self { images: decoded(boxes, classes, options)?, suppression })
    }
}

impl Suppression {
    /// The boxes of an image that stay, most confident first.
    pub fn kept(self, found: Vec<Detection>, iou: Option<f32>, usual: UsualIou, most: usize) -> Vec<Detection> {
        // Nothing overlaps by more than all of it.
        let usual = match self {
            Self::Anchors => usual.anchors,
            Self::Distribution => usual.distribution,
            Self::Done => 1.0,
        };
        let iou = if self == Self::Done { usual } else { iou.unwrap_or(usual) };
        suppress(found, NmsOptions { iou, max_detections: most, ..NmsOptions::default() })
    }
}
