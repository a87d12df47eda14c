//! What an ONNX file says about itself, in the words that Ultralytics uses: a key and a Python literal each.

use super::literal::quoted;
use super::options::{Batch, ExportOptions};
use super::proto::Entry;
use crate::model::Model;

/// The metadata of an exported model.
pub(super) fn metadata(model: &Model, options: &ExportOptions) -> Vec<Entry> {
    let detector = model.detector();
    let names: Vec<String> =
        detector.classes.iter().enumerate().map(|(class, name)| format!("{class}: {}", quoted(name))).collect();
    let batch = match options.batch {
        Batch::Fixed(count) => count,
        Batch::Dynamic => 1,
    };
    let python = |flag: bool| if flag { "True" } else { "False" };
    let args = format!(
        "{{'batch': {batch}, 'half': {}, 'dynamic': False, 'nms': {}, 'opset': {}}}",
        python(options.half),
        python(options.nms),
        options.opset
    );
    let lines = [
        ("description", format!("{}, written by Espalier", model.provenance().name)),
        ("author", "Espalier".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("stride", model.max_stride().to_string()),
        ("task", "detect".into()),
        ("head", "Detect".into()),
        ("batch", batch.to_string()),
        ("imgsz", format!("[{0}, {0}]", options.size)),
        ("names", format!("{{{}}}", names.join(", "))),
        ("args", args),
        ("channels", model.graph().image_channels().unwrap_or(3).to_string()),
        ("end2end", "False".into()),
    ];
    lines.into_iter().map(|(key, value)| Entry { key: key.into(), value }).collect()
}
