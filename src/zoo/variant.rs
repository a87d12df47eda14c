//! The published variants: how wide and deep each is, and the list of modules that it is made of.

use super::layer::Layer;
use super::scale::Scale;
use super::{v5, v8};
use crate::model::Head;

/// Which architecture a variant scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// YOLOv5 v6/v7: C3 blocks and a head with anchors.
    V5,
    /// The same with a fourth level, of stride 64, for large images.
    V5To64,
    /// YOLOv8: C2f blocks and a head of distributions.
    V8,
    /// The same with a fourth level, of stride 4, for small objects.
    V8From4,
}

/// A published variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Its name, such as `yolov5n`.
    pub name: &'static str,
    /// The architecture it scales.
    pub family: Family,
    /// Factor of the numbers of bottlenecks.
    pub depth: f64,
    /// Factor of the widths.
    pub width: f64,
    /// Widths are cut off here before they are scaled.
    pub max_channels: usize,
}

const fn variant(name: &'static str, family: Family, depth: f64, width: f64, max_channels: usize) -> Variant {
    Variant { name, family, depth, width, max_channels }
}

/// All published variants.
pub const VARIANTS: [Variant; 20] = [
    variant("yolov5n", Family::V5, 0.33, 0.25, usize::MAX),
    variant("yolov5s", Family::V5, 0.33, 0.50, usize::MAX),
    variant("yolov5m", Family::V5, 0.67, 0.75, usize::MAX),
    variant("yolov5l", Family::V5, 1.00, 1.00, usize::MAX),
    variant("yolov5x", Family::V5, 1.33, 1.25, usize::MAX),
    variant("yolov5n6", Family::V5To64, 0.33, 0.25, usize::MAX),
    variant("yolov5s6", Family::V5To64, 0.33, 0.50, usize::MAX),
    variant("yolov5m6", Family::V5To64, 0.67, 0.75, usize::MAX),
    variant("yolov5l6", Family::V5To64, 1.00, 1.00, usize::MAX),
    variant("yolov5x6", Family::V5To64, 1.33, 1.25, usize::MAX),
    variant("yolov8n", Family::V8, 0.33, 0.25, 1024),
    variant("yolov8s", Family::V8, 0.33, 0.50, 1024),
    variant("yolov8m", Family::V8, 0.67, 0.75, 768),
    variant("yolov8l", Family::V8, 1.00, 1.00, 512),
    variant("yolov8x", Family::V8, 1.00, 1.25, 512),
    variant("yolov8n-p2", Family::V8From4, 0.33, 0.25, 1024),
    variant("yolov8s-p2", Family::V8From4, 0.33, 0.50, 1024),
    variant("yolov8m-p2", Family::V8From4, 0.67, 0.75, 768),
    variant("yolov8l-p2", Family::V8From4, 1.00, 1.00, 512),
    variant("yolov8x-p2", Family::V8From4, 1.00, 1.25, 512),
];

impl Variant {
    /// The variant's modules for this many classes.
    pub fn layers(&self, classes: usize) -> Vec<Layer> {
        match self.family {
            Family::V5 => v5::to_32(&self.scale(), classes),
            Family::V5To64 => v5::to_64(&self.scale(), classes),
            Family::V8 => v8::from_8(&self.scale(), classes),
            Family::V8From4 => v8::from_4(&self.scale(), classes),
        }
    }

    /// Pixels a cell, a level each.
    pub fn strides(&self) -> &'static [usize] {
        match self.family {
            Family::V5 | Family::V8 => &[8, 16, 32],
            Family::V5To64 => &[8, 16, 32, 64],
            Family::V8From4 => &[4, 8, 16, 32],
        }
    }

    /// How boxes are encoded.
    pub fn head(&self) -> Head {
        let anchors = |levels: &[[[f32; 2]; 3]]| levels.iter().map(|level| level.to_vec()).collect();
        match self.family {
            Family::V5 => Head::Anchors { anchors: anchors(&v5::ANCHORS) },
            Family::V5To64 => Head::Anchors { anchors: anchors(&v5::ANCHORS_TO_64) },
            Family::V8 | Family::V8From4 => Head::Distribution { reg_max: v8::REG_MAX },
        }
    }

    fn scale(&self) -> Scale {
        Scale { depth: self.depth, width: self.width, max_channels: self.max_channels }
    }
}
