//! Fresh models of the published variants.

use super::{
    assemble::assemble,
    error::ZooError,
    init,
    variant::{VARIANTS, Variant},
};
use crate::{
    model::{Detector, Model, ModelError, Provenance},
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

/// A fresh model of a published variant (see [`VARIANTS`]), initialised as its authors do.
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
    let detector = Detector::new(fresh.classes.clone(), scale.strides().to_vec(), scale.head());
    let tensors = init::tensors(&graph, &detector, fresh.seed)?;
    let history = vec![format!("fresh, seed {}", fresh.seed)];
    let provenance = Provenance { name: variant.into(), history, ..Provenance::default() };
    Ok(Model::new(graph, tensors, detector, provenance)?)
}

options! {
    /// How weights are drawn anew.
    #[derive(Eq)]
    #[serde(default)]
    pub struct Redraw {
        /// Seed of the initial weights.
        pub seed: u64 = 0;
    }
}

/// The same network with weights drawn anew, as a fresh model has them, and what its masks hold at zero: what pruning kept
/// of the weights is worth as much as this falls short of the pruned model, both trained alike (Liu et al. 2019, Rethinking
/// the Value of Network Pruning).
///
/// # Errors
/// Where tensors cannot be made.
pub fn redraw(model: &Model, options: &Redraw) -> Result<Model, ZooError> {
    let mut tensors = init::tensors(model.graph(), model.detector(), options.seed)?;
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_device(&model.device()).map_err(ModelError::from)?;
    }
    Ok(model.with_tensors(tensors)?.with_step(format!("weights drawn anew, seed {}", options.seed)))
}
