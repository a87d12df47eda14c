//! What is known of a detector beside its network: its classes, its levels, and how its outputs encode boxes.

use serde::{Deserialize, Serialize};

use super::ModelError;
use crate::graph::Graph;

/// What is known of a detector beside its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    /// Class names, by class index.
    pub classes: Vec<String>,
    /// Pixels of the image per cell, a level each, finest first.
    pub strides: Vec<usize>,
    /// How the graph's outputs are read.
    pub head: Head,
}

/// How a graph's outputs encode boxes. Output maps are those of the last convolutions, before any sigmoid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    /// YOLOv5: output `i` is level `i`, (n, anchors·(5 + classes), h, w); of each anchor x, y, w, h, objectness, then a
    /// score for each class.
    Anchors {
        /// Anchor (width, height) in pixels: `anchors[level][anchor]`.
        anchors: Vec<Vec<[f32; 2]>>,
    },
    /// YOLOv8: output `2i` is the box distribution of level `i`, (n, 4·`reg_max`, h, w) for left, top, right, bottom;
    /// output `2i + 1` its class scores, (n, classes, h, w).
    Distribution {
        /// Bins of each side's distance (Li et al. 2020, distribution focal loss), at least 2.
        reg_max: usize,
    },
}

/// The largest stride that is believed.
const MAX_STRIDE: usize = 1024;

impl Detector {
    /// Checks the facts by themselves, and that the graph's outputs have the channels that they ask for.
    ///
    /// # Errors
    /// Says what was expected and found.
    pub fn validate(&self, graph: &Graph) -> Result<(), ModelError> {
        self.check().map_err(ModelError::Detector)?;
        let expected: Vec<usize> = match &self.head {
            Head::Anchors { anchors } => anchors.iter().map(|level| level.len() * (5 + self.classes.len())).collect(),
            Head::Distribution { reg_max } => {
                self.strides.iter().flat_map(|_| [reg_max.saturating_mul(4), self.classes.len()]).collect()
            }
        };
        let channels = graph.channels()?;
        let found: Vec<usize> = graph.outputs().iter().map(|&id| channels[id]).collect();
        if expected != found {
            return Err(ModelError::Detector(format!(
                "{} classes need output channels {expected:?}, the graph gives {found:?}",
                self.classes.len()
            )));
        }
        Ok(())
    }

    /// What is wrong with the facts, whatever the graph.
    pub(crate) fn check(&self) -> Result<(), String> {
        let strides = &self.strides;
        if strides.is_empty() || strides.iter().any(|stride| !(1..=MAX_STRIDE).contains(stride)) {
            return Err(format!("its strides are {strides:?}; expected pixels from 1 to {MAX_STRIDE}, a level each"));
        }
        if self.classes.is_empty() {
            return Err("it has no classes".into());
        }
        match &self.head {
            Head::Anchors { anchors } => {
                if anchors.len() != strides.len() {
                    let [levels, strides] = [anchors.len(), strides.len()];
                    return Err(format!("it has anchors for {levels} levels, and {strides} strides"));
                }
                if let Some(level) = anchors.iter().position(Vec::is_empty) {
                    return Err(format!("level {level} has no anchors"));
                }
                let mut extents = anchors.iter().flatten().flatten();
                match extents.find(|extent| !(extent.is_finite() && **extent > 0.0)) {
                    Some(wrong) => Err(format!("one of its anchors has the size {wrong}; expected pixels above 0")),
                    None => Ok(()),
                }
            }
            Head::Distribution { reg_max: 1 } => {
                Err("its head gives each side's distance as one number (reg_max 1), as \
                that of YOLO26 does; such heads are not supported yet, only distributions over 2 bins or more"
                    .into())
            }
            Head::Distribution { reg_max: 0 } => Err("its head has no bins for distances (reg_max 0)".into()),
            Head::Distribution { .. } => Ok(()),
        }
    }
}
