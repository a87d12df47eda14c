//! What is told of ONNX files.

use crate::io::onnx::{Batch, Exported};
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
