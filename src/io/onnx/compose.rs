//! The file of a model: its network folded and spelled, decoding behind it, metadata.

use candle_core::Result;

use super::builder::{Builder, extent, int};
use super::head::{Decoded, DecodedValues, decode};
use super::metadata::metadata;
use super::options::{Batch, ExportOptions};
use super::proto::{Dimension, ElementType, Extent, ModelProto, OperatorSet};
use super::spell::{IMAGES, spell};
use super::suppress::suppress;
use crate::graph::{Graph, Shape};
use crate::model::{Model, OutputKind};

/// The name and shape of each output of a file for one image.
pub(super) type Outputs = [(String, Vec<usize>)];

/// A file, and its [`Outputs`].
pub(super) struct Composed {
    pub file: ModelProto,
    pub outputs: Vec<(String, Vec<usize>)>,
}

/// Puts a folded model together as a file; `shapes` are those of its values.
///
/// # Errors
/// Where its tensors cannot be read.
pub(super) fn compose(model: &Model, shapes: &[Shape], options: &ExportOptions) -> Result<Composed> {
    let graph = model.graph();
    let real = if options.half { ElementType::Float16 } else { ElementType::Float };
    let mut builder = Builder::new(&model.provenance().name, real);
    let channels = graph.image_channels().unwrap_or(3);
    builder.input(IMAGES, real, dims(options.batch, &[channels, options.size, options.size]));
    let maps = network(&mut builder, model)?;
    let shapes: Vec<Shape> = graph.outputs().iter().map(|&id| shapes[id]).collect();
    let outputs = match options.raw {
        true => raw(&mut builder, model, &maps, &shapes),
        false => boxes(&mut builder, model, maps, &shapes, options),
    };
    let kind = if options.raw { real } else { ElementType::Float };
    for (name, shape) in &outputs {
        builder.output(name, kind, dims(options.batch, shape));
    }
    let file = ModelProto {
        ir_version: ir_version(options.opset),
        producer_name: "Espalier".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: model.provenance().history.join("\n"),
        graph: Some(builder.finish()),
        opset_import: vec![OperatorSet { domain: String::new(), version: options.opset as i64 }],
        metadata_props: metadata(model, options),
    };
    Ok(Composed { file, outputs })
}

/// The version of the format that came with a version of the operators.
fn ir_version(opset: usize) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}

fn dims(batch: Batch, shape: &[usize]) -> Vec<Dimension> {
    let batch = match batch {
        Batch::Fixed(count) => Extent::Value(count as i64),
        Batch::Dynamic => Extent::Param("batch".into()),
    };
    std::iter::once(batch).chain(shape.iter().map(|&extent| Extent::Value(extent as i64))).map(extent).collect()
}

/// Adds every node; gives the names of the outputs' values.
fn network(builder: &mut Builder, model: &Model) -> Result<Vec<String>> {
    let graph: &Graph = model.graph();
    let mut values: Vec<String> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let inputs: Vec<&str> = node.inputs.iter().map(|&input| values[input].as_str()).collect();
        let value = spell(builder, node, &inputs, model.tensors())?;
        values.push(value);
    }
    Ok(graph.outputs().iter().map(|&id| values[id].clone()).collect())
}

/// The maps as they are, under names that say what they hold: `boxes_8`, `classes_8`.
fn raw(builder: &mut Builder, model: &Model, maps: &[String], shapes: &[Shape]) -> Vec<(String, Vec<usize>)> {
    let detector = model.detector();
    let mut output = |(map, (shape, output)): (&String, (&Shape, &crate::model::Output))| {
        let what = match output.kind {
            OutputKind::Anchors => "anchors",
            OutputKind::Boxes => "boxes",
            OutputKind::Classes => "classes",
        };
        let name = format!("{what}_{}", detector.strides[output.level]);
        let name = builder.node("Identity", &name, &[map], vec![]);
        (name, vec![shape.channels, shape.height, shape.width])
    };
    maps.iter().zip(shapes.iter().zip(&detector.outputs)).map(&mut output).collect()
}

/// One output, `output0`: decoded boxes, or those that are left of them.
fn boxes(
    builder: &mut Builder,
    model: &Model,
    mut maps: Vec<String>,
    shapes: &[Shape],
    options: &ExportOptions,
) -> Vec<(String, Vec<usize>)> {
    let detector = model.detector();
    if builder.real() != ElementType::Float {
        // Pixels beyond 512 are half a pixel apart in 16 bits.
        let float = || vec![int("to", ElementType::Float as i64)];
        maps = maps.iter().map(|map| builder.node("Cast", &format!("{map}.float"), &[map], float())).collect();
        builder.set_real(ElementType::Float);
    }
    let Decoded { values, places } = decode(builder, detector, &maps, shapes);
    let (name, shape) = match &values {
        _ if options.nms => (suppress(builder, detector, &values, places, options), vec![options.max_det, 6]),
        DecodedValues::Anchors(rows) => {
            (builder.node("Identity", "output0", &[rows], vec![]), vec![places, 5 + detector.classes.len()])
        }
        DecodedValues::Distribution { boxes, scores } => {
            let name = builder.node("Concat", "output0", &[boxes, scores], vec![int("axis", 1)]);
            (name, vec![4 + detector.classes.len(), places])
        }
    };
    vec![(name, shape)]
}
