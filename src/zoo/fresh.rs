//! Fresh models of the published variants.

use super::{
    assemble::assemble,
    error::ZooError,
    init,
    variant::{self, Family, VARIANTS, Variant},
};
use crate::{
    model::{Detector, Head, Model, Provenance},
    options::OptionError,
};

/// What a fresh model should be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fresh {
    /// Class names, by class index.
    pub classes: Vec<String>,
    /// Factor of the published widths at scale 1 (`yolov5n` has 0.25), where it should differ from the variant's own.
    pub width: Option<f64>,
    /// Factor of the published numbers of bottlenecks at scale 1 (`yolov5n` has 0.33), where it should differ.
    pub depth: Option<f64>,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Fresh {
    /// This many classes named by their index, the variant's own width and depth, and seed 0.
    pub fn numbered(classes: usize) -> Self {
        let classes = (0..classes).map(|index| index.to_string()).collect();
        Self { classes, width: None, depth: None, seed: 0 }
    }
}

/// A fresh model of a published variant (`yolov5n` … `yolov8x`), initialised as its authors do.
///
/// # Errors
/// Where there is no such variant, or an option is out of range.
pub fn yolo(variant: &str, fresh: &Fresh) -> Result<Model, ZooError> {
    let Some(found) = VARIANTS.iter().find(|known| known.name == variant) else {
        return Err(ZooError::UnknownVariant { name: variant.into() });
    };
    check(fresh)?;
    let scale =
        Variant { width: fresh.width.unwrap_or(found.width), depth: fresh.depth.unwrap_or(found.depth), ..*found };
    let graph = assemble(&scale.layers(fresh.classes.len()))?;
    let head = match scale.family {
        Family::V5 => Head::Anchors { anchors: variant::ANCHORS.map(|level| level.to_vec()).to_vec() },
        Family::V8 => Head::Distribution { reg_max: variant::REG_MAX },
    };
    let detector = Detector::new(fresh.classes.clone(), variant::STRIDES.to_vec(), head);
    let tensors = init::tensors(&graph, &detector, fresh.seed)?;
    let provenance = Provenance { name: variant.into(), history: vec![format!("fresh, seed {}", fresh.seed)] };
    Ok(Model::new(graph, tensors, detector, provenance)?)
}

fn check(fresh: &Fresh) -> Result<(), ZooError> {
    let classes = fresh.classes.len();
    if !(1..=10_000).contains(&classes) {
        return Err(OptionError::value("classes", "1 to 10000 classes", classes).into());
    }
    for (option, factor) in [("width", fresh.width), ("depth", fresh.depth)] {
        if let Some(factor) = factor
            && !(factor > 0.0 && factor <= 4.0)
        {
            return Err(OptionError::value(option, "a number above 0 and at most 4", factor).into());
        }
    }
    Ok(())
}
