//! Fresh models of the published variants.

use super::{
    assemble::assemble,
    error::ZooError,
    init,
    variant::{self, Family, VARIANTS, Variant},
};
use crate::{
    model::{Detector, Head, Model, Provenance},
    options::{OptionError, Options, options},
};

options! {
    /// What a fresh model should be.
    #[serde(default)]
    pub struct Fresh {
        /// Class names, by class index.
        pub classes: Vec<String> = numbered(80);
        /// Factor of the published widths at scale 1 (`yolov5n` has 0.25); the variant's own by default.
        pub width: Option<f64> = None, 0.01..=4.0;
        /// Factor of the published numbers of bottlenecks at scale 1 (`yolov5n` has 0.33); the variant's own by default.
        pub depth: Option<f64> = None, 0.01..=4.0;
        /// Seed of the initial weights.
        pub seed: u64 = 0;
    }
}

impl Fresh {
    /// This many classes named by their index, the variant's own width and depth, and seed 0.
    pub fn numbered(classes: usize) -> Self {
        Self { classes: numbered(classes), ..Self::default() }
    }
}

/// Classes named by their index.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|index| index.to_string()).collect()
}

/// A fresh model of a published variant (`yolov5n` … `yolov8x`), initialised as its authors do.
///
/// # Errors
/// Where there is no such variant, or an option is out of range.
pub fn yolo(variant: &str, fresh: &Fresh) -> Result<Model, ZooError> {
    let Some(found) = VARIANTS.iter().find(|known| known.name == variant) else {
        return Err(ZooError::UnknownVariant { name: variant.into() });
    };
    fresh.check()?;
    let classes = fresh.classes.len();
    if !(1..=10_000).contains(&classes) {
        return Err(OptionError::value("classes", "1 to 10000 classes", classes).into());
    }
    let scale =
        Variant { width: fresh.width.unwrap_or(found.width), depth: fresh.depth.unwrap_or(found.depth), ..*found };
    let graph = assemble(&scale.layers(classes))?;
    let head = match scale.family {
        Family::V5 => Head::Anchors { anchors: variant::ANCHORS.map(|level| level.to_vec()).to_vec() },
        Family::V8 => Head::Distribution { reg_max: variant::REG_MAX },
    };
    let detector = Detector::new(fresh.classes.clone(), variant::STRIDES.to_vec(), head);
    let tensors = init::tensors(&graph, &detector, fresh.seed)?;
    let provenance = Provenance { name: variant.into(), history: vec![format!("fresh, seed {}", fresh.seed)] };
    Ok(Model::new(graph, tensors, detector, provenance)?)
}
