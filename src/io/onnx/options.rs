//! What an export can be asked for.

use serde::{Deserialize, Serialize};

use crate::model::Head;
use crate::options::{Kind, OptionValue, Value, options};

/// Images that a file takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub enum Batch {
    /// So many.
    Fixed(usize),
    /// Any number, another one each time.
    Dynamic,
}

/// The name of a number of images that may differ.
const DYNAMIC: &str = "dynamic";

/// The most images at once.
const MOST: usize = 4096;

/// A batch as files have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Count(usize),
    Word(String),
}

impl TryFrom<Stored> for Batch {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        match stored {
            Stored::Count(count) => Ok(Batch::Fixed(count)),
            Stored::Word(word) if word == DYNAMIC => Ok(Batch::Dynamic),
            Stored::Word(word) => Err(format!("a batch is a number or \"{DYNAMIC}\", not \"{word}\"")),
        }
    }
}

impl From<Batch> for Stored {
    fn from(batch: Batch) -> Self {
        match batch {
            Batch::Fixed(count) => Stored::Count(count),
            Batch::Dynamic => Stored::Word(DYNAMIC.into()),
        }
    }
}

impl OptionValue for Batch {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::IntOr(1..=MOST as i64, &[DYNAMIC])
    }

    fn value(&self) -> Option<Value> {
        Some(match self {
            Batch::Fixed(count) => Value::Int(*count as i64),
            Batch::Dynamic => Value::Text(DYNAMIC.into()),
        })
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Int(count) => usize::try_from(*count).ok().map(Batch::Fixed),
            Value::Text(word) if word == DYNAMIC => Some(Batch::Dynamic),
            _ => None,
        }
    }
}

options! {
    /// How a model is written as ONNX.
    #[derive(Copy)]
    #[serde(default)]
    pub struct ExportOptions {
        /// Side of the square images in pixels; a multiple of the model's largest stride.
        pub size: usize = 640, 32..=8192;
        /// Images at once.
        pub batch: Batch = Batch::Fixed(1);
        /// Whether weights, images and the network's values are 16 bits wide; boxes are decoded in 32 all the same.
        pub half: bool = false;
        /// Whether overlapping boxes are suppressed in the graph; then a batch is one image.
        pub nms: bool = false;
        /// Whether the maps of the last convolutions are given as they are, without boxes.
        pub raw: bool = false;
        /// Version of ONNX's operators.
        pub opset: usize = 17, 13..=22;
        /// With nms, boxes of at most this confidence are dropped.
        pub conf: f32 = 0.25, 0.0..=1.0;
        /// With nms, intersection over union with a better box of its class above which a box goes; by default 0.45 for
        /// YOLOv5, 0.7 for YOLOv8.
        pub iou: Option<f32> = None, 0.0..=1.0;
        /// With nms, boxes kept.
        pub max_det: usize = 300, 1..=30_000;
    }
}

impl ExportOptions {
    /// The intersection over union above which boxes go.
    pub(super) fn iou_of(&self, head: &Head) -> f32 {
        self.iou.unwrap_or(match head {
            Head::Anchors { .. } => 0.45,
            Head::Distribution { .. } => 0.7,
        })
    }
}
