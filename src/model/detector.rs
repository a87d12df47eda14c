//! What is known of a detector beside its network: its classes, its levels, and how its outputs encode boxes.

use serde::{Deserialize, Serialize};

use super::error::ModelError;
use crate::graph::Graph;

/// What is known of a detector beside its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Detector {
    /// Class names, by class index.
    pub classes: Vec<String>,
    /// Pixels of the image per cell, a level each, finest first.
    pub strides: Vec<usize>,
    /// How boxes are encoded.
    pub head: Head,
    /// What each of the graph's outputs gives, in their order.
    pub outputs: Vec<Output>,
}

/// How boxes are encoded. The maps are those of the last convolutions, before any sigmoid.
///
/// A new head is a variant here and the kinds of its outputs; the compiler then names what each layer must know of it: how it is
/// built (`zoo`) and read from files (`io::pt`), decoded (`eval::decode`), written as ONNX (`io::onnx`), trained (`train::loss`) and
/// imitated (`distill`). Each is one small match where that question is answered, for decoding, losses and formats belong to layers
/// that may not know each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    /// YOLOv5: each level has one map, [`OutputKind::Anchors`].
    Anchors {
        /// Anchor (width, height) in pixels: `anchors[level][anchor]`.
        anchors: Vec<Vec<[f32; 2]>>,
    },
    /// YOLOv8: each level has two maps, [`OutputKind::Boxes`] and [`OutputKind::Classes`].
    Distribution {
        /// Bins of each side's distance (Li et al. 2020, distribution focal loss), at least 2.
        reg_max: usize,
    },
}

/// What one of a graph's outputs gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Output {
    /// Of which level: an index into the detector's strides.
    pub level: usize,
    /// What of it.
    pub kind: OutputKind,
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// (n, anchors·(5 + classes), h, w): of each anchor x, y, w, h, objectness, then a score for each class.
    Anchors,
    /// (n, 4·`reg_max`, h, w): the distributions of the distances to left, top, right, bottom.
    Boxes,
    /// (n, classes, h, w): a score for each class.
    Classes,
}

/// A detector as files have it; earlier ones do not name the outputs.
#[derive(Deserialize)]
struct Stored {
    classes: Vec<String>,
    strides: Vec<usize>,
    head: Head,
    outputs: Option<Vec<Output>>,
}

impl From<Stored> for Detector {
    fn from(stored: Stored) -> Self {
        let Stored { classes, strides, head, outputs } = stored;
        let usual = Self::new(classes, strides, head);
        Self { outputs: outputs.unwrap_or_else(|| usual.outputs.clone()), ..usual }
    }
}

impl Head {
    /// What each level has.
    fn kinds(&self) -> &'static [OutputKind] {
        match self {
            Head::Anchors { .. } => &[OutputKind::Anchors],
            Head::Distribution { .. } => &[OutputKind::Boxes, OutputKind::Classes],
        }
    }
}

/// The largest stride that is believed.
const MAX_STRIDE: usize = 1024;

impl Detector {
    /// A detector whose outputs come level by level, and of each in the order of [`OutputKind`].
    pub fn new(classes: Vec<String>, strides: Vec<usize>, head: Head) -> Self {
        let level = |level| head.kinds().iter().map(move |&kind| Output { level, kind });
        let outputs = (0..strides.len()).flat_map(level).collect();
        Self { classes, strides, head, outputs }
    }

    /// Of things of which there is one for each output, those of a kind, by level: finest first. Empty where the head has
    /// no such outputs.
    pub fn by_level<'a, T>(&self, kind: OutputKind, of_outputs: &'a [T]) -> Vec<&'a T> {
        self.positions(kind).into_iter().filter_map(|output| of_outputs.get(output)).collect()
    }

    /// Which outputs are of a kind, by level: finest first.
    pub fn positions(&self, kind: OutputKind) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.outputs.len()).filter(|&at| self.outputs[at].kind == kind).collect();
        found.sort_by_key(|&at| self.outputs[at].level);
        found
    }

    /// Channels that each output must have.
    pub fn channels(&self) -> Vec<usize> {
        let classes = self.classes.len();
        let of = |output: &Output| match (&self.head, output.kind) {
            (Head::Anchors { anchors }, OutputKind::Anchors) => {
                anchors.get(output.level).map_or(0, Vec::len).saturating_mul(5 + classes)
            }
            (Head::Distribution { reg_max }, OutputKind::Boxes) => reg_max.saturating_mul(4),
            (Head::Distribution { .. }, OutputKind::Classes) => classes,
            (Head::Anchors { .. }, OutputKind::Boxes | OutputKind::Classes)
            | (Head::Distribution { .. }, OutputKind::Anchors) => 0,
        };
        self.outputs.iter().map(of).collect()
    }

    /// Bias that makes the scores of `classes` classes rare at the start, on a level (Lin et al. 2017, "Focal Loss",
    /// section 4.1, with the constants of YOLOv5 and YOLOv8).
    pub(crate) fn class_bias(&self, level: usize, classes: usize) -> f32 {
        match &self.head {
            Head::Anchors { .. } => (0.6 / (classes as f32 - 0.99999)).ln(),
            Head::Distribution { .. } => (5.0 / classes as f32 / self.cells(level)).ln(),
        }
    }

    /// Bias that makes objects rare at the start, on a level: eight in an image of 640 pixels, as in YOLOv5.
    pub(crate) fn objectness_bias(&self, level: usize) -> f32 {
        (8.0 / self.cells(level)).ln()
    }

    /// Cells of a level in an image of 640 pixels.
    fn cells(&self, level: usize) -> f32 {
        (640.0 / self.strides[level] as f32).powi(2)
    }

    /// Checks the facts by themselves, and that the graph's outputs have the channels that they ask for.
    ///
    /// # Errors
    /// Says what was expected and found.
    pub fn validate(&self, graph: &Graph) -> Result<(), ModelError> {
        self.check().map_err(ModelError::Detector)?;
        let expected = self.channels();
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
        let usual = Self::new(Vec::new(), strides.clone(), self.head.clone()).outputs;
        let mut outputs = self.outputs.clone();
        outputs.sort_unstable();
        if outputs != usual {
            return Err(format!("its outputs are {:?}; expected one of each of {usual:?}", self.outputs));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn detector() -> Detector {
        Detector::new(vec!["a".into(), "b".into()], vec![8, 16], Head::Distribution { reg_max: 4 })
    }

    #[test]
    fn outputs_of_earlier_files_are_derived_from_the_head() {
        let earlier = r#"{"classes":["a","b"],"strides":[8,16],"head":{"kind":"distribution","reg_max":4}}"#;
        let found: Detector = serde_json::from_str(earlier).unwrap();
        assert_eq!(found, detector());
        let boxes = |level| Output { level, kind: OutputKind::Boxes };
        let classes = |level| Output { level, kind: OutputKind::Classes };
        assert_eq!(found.outputs, [boxes(0), classes(0), boxes(1), classes(1)]);
        assert_eq!(serde_json::from_str::<Detector>(&serde_json::to_string(&found).unwrap()).unwrap(), found);
    }

    #[test]
    fn outputs_are_found_in_any_order() {
        let mut detector = detector();
        detector.outputs.reverse();
        detector.check().unwrap();
        assert_eq!(detector.channels(), [2, 16, 2, 16]);
        assert_eq!(detector.by_level(OutputKind::Boxes, &["c1", "b1", "c0", "b0"]), [&"b0", &"b1"]);
        assert_eq!(detector.positions(OutputKind::Classes), [2, 0]);
        assert!(detector.positions(OutputKind::Anchors).is_empty());
    }

    #[test]
    fn outputs_that_are_missing_or_double_are_named() {
        let mut detector = detector();
        detector.outputs[3] = detector.outputs[1];
        assert!(detector.check().unwrap_err().contains("level: 1, kind: Classes"));
        detector.outputs.clear();
        assert!(detector.check().is_err());
    }
}
