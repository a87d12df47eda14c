//! What is told of ONNX files.

use crate::io::onnx::{Batch, Exported, OnnxModel};
use crate::report::cell::Cell;

/// What was exported, in a line: the file, what goes in and what comes out, and how far another engine's numbers are away.
pub fn exported(exported: &Exported) -> String {
    let Exported { path, bytes, size, batch, opset, outputs, difference, .. } = exported;
    let batch = match batch {
        Batch::Fixed(count) => count.to_string(),
        Batch::Dynamic => "n".into(),
    };
    let shape = |(name, dims): &(String, Vec<usize>)| {
        let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
        format!("{name} {batch}×{}", dims.join("×"))
    };
    let outputs: Vec<String> = outputs.iter().map(shape).collect();
    format!(
        "{} · {} · opset {opset} · images {batch}×3×{size}×{size} · {} · differs by at most {difference:.1e}",
        path.display(),
        Cell::Bytes(*bytes as u64).human(),
        outputs.join(", ")
    )
}

/// An ONNX file in a line: name, classes, parameters, the images that it takes, its size, and who runs it.
pub fn onnx_headline(file: &OnnxModel) -> String {
    let classes = file.classes().len();
    let plural = if classes == 1 { "class" } else { "classes" };
    let extent = |extent: Option<usize>, any: &str| extent.map_or_else(|| any.to_owned(), |extent| extent.to_string());
    let (batch, size) = (extent(file.batch(), "n"), extent(file.size(), "size"));
    format!(
        "{} · {classes} {plural} · {} parameters · images {batch}×3×{size}×{size} · {} · run by rten",
        file.name(),
        Cell::Count(file.weights().count).human(),
        Cell::Bytes(file.bytes()).human()
    )
}
