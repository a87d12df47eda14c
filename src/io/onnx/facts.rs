//! What an ONNX file is by its own words: its classes, the images that it takes, and what it gives.

use std::collections::HashSet;

use super::literal::{is_true, numbers, texts};
use super::proto::{Dimension, ElementType, Extent, GraphProto, ModelProto, ValueInfo};
use crate::io::onnx_error::OnnxError;

/// What a file is by its own words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    /// Class names, by class index.
    pub classes: Vec<String>,
    /// The largest stride.
    pub stride: usize,
    /// Side of the images in pixels, where it takes no other.
    pub size: Option<usize>,
    /// Images at once, where it takes no other number.
    pub batch: Option<usize>,
    /// Which of its outputs holds the boxes.
    pub output: usize,
    /// Whether overlapping boxes are suppressed in it.
    pub suppresses: bool,
}

/// The most classes that are believed.
const MOST_CLASSES: usize = 10_000;

/// The largest extent of an image that is believed.
const LARGEST: usize = 8192;

/// Reads what a file says of itself, and checks that it is a detector of a kind that can be run.
///
/// # Errors
/// Says what is missing or different, and what to do.
pub(super) fn facts(file: &ModelProto) -> Result<Facts, OnnxError> {
    let graph = file.graph.as_ref().ok_or_else(|| OnnxError::Damaged("it holds no graph".into()))?;
    let entry = |key: &str| file.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    match entry("task") {
        None | Some("detect") => {}
        Some(task) => {
            return unfit(format!("it is for the task `{task}`, and only detectors (`detect`) are run"));
        }
    }
    let (size, batch) = images(graph)?;
    let suppresses = graph.node.iter().any(|node| node.op_type == "NonMaxSuppression")
        || entry("args").is_some_and(|args| is_true(args, "nms"))
        || entry("end2end") == Some("True");
    Ok(Facts {
        classes: classes(entry("names"))?,
        stride: stride(entry("stride"))?,
        size,
        batch,
        output: output(graph)?,
        suppresses,
    })
}

fn unfit<T>(what: impl Into<String>) -> Result<T, OnnxError> {
    Err(OnnxError::Unfit(what.into()))
}

fn classes(names: Option<&str>) -> Result<Vec<String>, OnnxError> {
    let Some(names) = names else {
        return unfit(
            "its metadata has no class names (`names`), which the exporters of Ultralytics and of YOLOv5 since 6.2 write; \
             export it again with one of them",
        );
    };
    match texts(names).map(|classes| (classes.len(), classes)) {
        Some((1..=MOST_CLASSES, classes)) => Ok(classes),
        Some((count, _)) => unfit(format!("its metadata names {count} classes; expected 1 to {MOST_CLASSES}")),
        None => {
            let start: String = names.chars().take(60).collect();
            unfit(format!("`names` in its metadata is no list of class names: {start:?}"))
        }
    }
}

fn stride(stride: Option<&str>) -> Result<usize, OnnxError> {
    let Some(stride) = stride else { return Ok(32) };
    // YOLOv5's exporter writes the largest, others a list.
    match numbers(stride).and_then(|strides| strides.into_iter().max()) {
        Some(largest @ 1..=1024) => Ok(largest),
        _ => unfit(format!("`stride` in its metadata is {stride:?}; expected pixels")),
    }
}

/// Side and number of the images that it takes, where they are fixed.
fn images(graph: &GraphProto) -> Result<(Option<usize>, Option<usize>), OnnxError> {
    // Older files list their constants as inputs too.
    let constants: HashSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
    let inputs: Vec<&ValueInfo> = graph.input.iter().filter(|input| !constants.contains(&input.name)).collect();
    let [input] = inputs[..] else {
        return unfit(format!("it has {} inputs; a detector has one, the images", inputs.len()));
    };
    let kind = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let real = [ElementType::Float, ElementType::Float16].map(|kind| kind as i32);
    let Some(kind) = kind.filter(|kind| real.contains(&kind.elem_type)) else {
        return unfit(format!("its input `{}` is no tensor of real numbers (float32 or float16)", input.name));
    };
    let extents: Vec<Option<i64>> = kind.shape.iter().flat_map(|shape| &shape.dim).map(fixed).collect();
    let [batch, channels, height, width] = extents[..] else {
        return unfit(format!("its input `{}` has {} dimensions; images have (n, 3, h, w)", input.name, extents.len()));
    };
    if channels.is_some_and(|channels| channels != 3) {
        return unfit(format!("its input `{}` is {extents:?}; images have three channels, (n, 3, h, w)", input.name));
    }
    let known = |extent: Option<i64>, most: usize| match extent.map(usize::try_from) {
        None => Ok(None),
        Some(Ok(extent)) if (1..=most).contains(&extent) => Ok(Some(extent)),
        Some(_) => unfit(format!("its input `{}` is {extents:?}, which no images are", input.name)),
    };
    let (height, width) = (known(height, LARGEST)?, known(width, LARGEST)?);
    if height != width {
        return unfit(format!("it takes images of {height:?}×{width:?} pixels; export it for squares"));
    }
    Ok((height, known(batch, 4096)?))
}

/// A dimension's extent; `None` where it is known only when the graph runs.
fn fixed(dimension: &Dimension) -> Option<i64> {
    match &dimension.extent {
        Some(Extent::Value(extent)) => Some(*extent),
        Some(Extent::Param(_)) | None => None,
    }
}

/// Which output holds the boxes: of all that there are the one that has three dimensions.
fn output(graph: &GraphProto) -> Result<usize, OnnxError> {
    let rank = |value: &ValueInfo| {
        let kind = value.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
        kind.and_then(|kind| kind.shape.as_ref()).map(|shape| shape.dim.len())
    };
    let ranks: Vec<Option<usize>> = graph.output.iter().map(rank).collect();
    let found: Vec<usize> = (0..ranks.len()).filter(|&at| ranks[at] == Some(3)).collect();
    match (&found[..], &ranks[..]) {
        (&[output], _) => Ok(output),
        // Its shape is not told before it runs.
        ([], [None]) => Ok(0),
        ([], _) if ranks.iter().all(|&rank| rank == Some(4)) => {
            unfit("it gives the heads' maps as they are; export it with decoded boxes, without `raw`")
        }
        _ => unfit(format!("of its {} outputs not one alone has the shape of boxes (n, places, values)", ranks.len())),
    }
}
