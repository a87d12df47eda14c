//! The detector's decoding in the graph: from the maps of the last convolutions to boxes and scores.
//!
//! What the maps mean is told where `eval::decode` reads them.

use super::builder::{Builder, int, ints};
use crate::graph::Shape;
use crate::model::{Detector, Head, OutputKind};

/// Boxes and scores of all places, level by level, (anchor by anchor,) row by row.
pub(super) struct Decoded {
    pub values: DecodedValues,
    /// How many boxes there are.
    pub places: usize,
}

/// What boxes and scores are in.
pub(super) enum DecodedValues {
    /// YOLOv5's: (n, places, 5 + classes), of each x, y, w, h in pixels, objectness and a share for each class.
    Anchors(String),
    /// YOLOv8's, in two values: (n, 4, places), x, y, w, h in pixels, and (n, classes, places).
    Distribution {
        /// The boxes.
        boxes: String,
        /// The shares of the classes.
        scores: String,
    },
}

/// A place of the maps: its column, its row, its level's stride.
struct Cell {
    column: f32,
    row: f32,
    stride: f32,
}

/// Adds the decoding of maps, of which `maps` are the names and `shapes` the shapes, in the order of the detector's
/// outputs.
pub(super) fn decode(builder: &mut Builder, detector: &Detector, maps: &[String], shapes: &[Shape]) -> Decoded {
    match &detector.head {
        Head::Anchors { anchors } => {
            let maps = detector.by_level(OutputKind::Anchors, maps);
            let shapes = detector.by_level(OutputKind::Anchors, shapes);
            anchor_boxes(builder, detector, anchors, &maps, &shapes)
        }
        Head::Distribution { reg_max } => {
            let levels = detector.by_level(OutputKind::Boxes, shapes).into_iter().zip(&detector.strides);
            let cells: Vec<Cell> = levels.flat_map(|(shape, &stride)| cells(shape, stride)).collect();
            let sides = flat(builder, "boxes", &detector.by_level(OutputKind::Boxes, maps), 4 * reg_max);
            let scores =
                flat(builder, "classes", &detector.by_level(OutputKind::Classes, maps), detector.classes.len());
            let scores = builder.node("Sigmoid", "head.scores", &[&scores], vec![]);
            let boxes = distance_boxes(builder, *reg_max, &cells, &sides);
            Decoded { values: DecodedValues::Distribution { boxes, scores }, places: cells.len() }
        }
    }
}

/// The places of a level, row by row.
fn cells(shape: &Shape, stride: usize) -> impl Iterator<Item = Cell> {
    let (width, stride) = (shape.width, stride as f32);
    (0..shape.height * width).map(move |at| Cell { column: (at % width) as f32, row: (at / width) as f32, stride })
}

/// The maps of all levels as one (n, channels, places).
fn flat(builder: &mut Builder, what: &str, maps: &[&String], channels: usize) -> String {
    let shape = builder.indices(&format!("head.{what}.shape"), &[0, channels as i64, -1]);
    let levels: Vec<String> = maps
        .iter()
        .enumerate()
        .map(|(level, map)| builder.node("Reshape", &format!("head.{what}.{level}"), &[map, &shape], vec![]))
        .collect();
    concat(builder, &format!("head.{what}"), &levels, 2)
}

fn concat(builder: &mut Builder, name: &str, parts: &[String], axis: i64) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    builder.node("Concat", name, &parts, vec![int("axis", axis)])
}

/// A range of an axis.
pub(super) fn slice(builder: &mut Builder, name: &str, value: &str, axis: i64, range: [i64; 2]) -> String {
    let [starts, ends, axis] = [("from", range[0]), ("to", range[1]), ("axis", axis)]
        .map(|(what, number)| builder.indices(&format!("{what}_{number}"), &[number]));
    builder.node("Slice", name, &[value, &starts, &ends, &axis], vec![])
}

/// The distance of each side is the expectation of a softmax over its bins; the middle of left and right, and of top and
/// bottom, is the centre.
fn distance_boxes(builder: &mut Builder, reg_max: usize, cells: &[Cell], sides: &str) -> String {
    let places = cells.len();
    let shape = builder.indices("head.bins.shape", &[0, 4, reg_max as i64, -1]);
    let bins = builder.node("Reshape", "head.bins", &[sides, &shape], vec![]);
    let shares = builder.node("Softmax", "head.bins.softmax", &[&bins], vec![int("axis", 2)]);
    let bins: Vec<f32> = (0..reg_max).map(|bin| bin as f32).collect();
    let bins = builder.reals("head.bins.values", &[1, reg_max], &bins);
    let expected = builder.node("MatMul", "head.expectation", &[&bins, &shares], vec![]);
    let shape = builder.indices("head.distances.shape", &[0, 4, -1]);
    let distances = builder.node("Reshape", "head.distances", &[&expected, &shape], vec![]);
    let before = slice(builder, "head.distances.left_top", &distances, 1, [0, 2]);
    let after = slice(builder, "head.distances.right_bottom", &distances, 1, [2, 4]);

    let centres: Vec<f32> =
        cells.iter().map(|cell| cell.column + 0.5).chain(cells.iter().map(|cell| cell.row + 0.5)).collect();
    let centres = builder.reals("head.cells", &[1, 2, places], &centres);
    let half = builder.reals("head.half", &[1], &[0.5]);
    let difference = builder.node("Sub", "head.shift.double", &[&after, &before], vec![]);
    let shift = builder.node("Mul", "head.shift", &[&difference, &half], vec![]);
    let centre = builder.node("Add", "head.centre", &[&centres, &shift], vec![]);
    let size = builder.node("Add", "head.size", &[&before, &after], vec![]);
    let in_cells = concat(builder, "head.boxes.cells", &[centre, size], 1);
    let strides: Vec<f32> = cells.iter().map(|cell| cell.stride).collect();
    let strides = builder.reals("head.strides", &[1, 1, places], &strides);
    builder.node("Mul", "head.boxes.pixels", &[&in_cells, &strides], vec![])
}

/// With σ the sigmoid, the centre is (2σ − 0.5 + cell) · stride and the size (2σ)² · anchor.
fn anchor_boxes(
    builder: &mut Builder,
    detector: &Detector,
    anchors: &[Vec<[f32; 2]>],
    maps: &[&String],
    shapes: &[&Shape],
) -> Decoded {
    let values = 5 + detector.classes.len() as i64;
    let mut levels = Vec::new();
    let (mut strides, mut corners, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for (level, ((map, shape), of_level)) in maps.iter().zip(shapes).zip(anchors).enumerate() {
        let name = format!("head.{level}");
        let apart = builder.indices(&format!("{name}.shape"), &[0, of_level.len() as i64, values, -1]);
        let apart = builder.node("Reshape", &format!("{name}.anchors"), &[map, &apart], vec![]);
        let turned = builder.node("Transpose", &format!("{name}.places"), &[&apart], vec![ints("perm", [0, 1, 3, 2])]);
        let places = builder.indices("head.places.shape", &[0, -1, values]);
        levels.push(builder.node("Reshape", &name, &[&turned, &places], vec![]));
        for anchor in of_level {
            for cell in cells(shape, detector.strides[level]) {
                strides.push(2.0 * cell.stride);
                corners.extend([(cell.column - 0.5) * cell.stride, (cell.row - 0.5) * cell.stride]);
                sizes.extend(anchor.map(|side| 4.0 * side));
            }
        }
    }
    let count = strides.len();
    let all = concat(builder, "head.maps", &levels, 1);
    let shares = builder.node("Sigmoid", "head.shares", &[&all], vec![]);
    let [centre, size, scores] = [("centre", [0, 2]), ("size", [2, 4]), ("scores", [4, values])]
        .map(|(what, range)| slice(builder, &format!("head.shares.{what}"), &shares, 2, range));
    let strides = builder.reals("head.strides.double", &[1, count, 1], &strides);
    let corners = builder.reals("head.cells", &[1, count, 2], &corners);
    let scaled = builder.node("Mul", "head.centre.scaled", &[&centre, &strides], vec![]);
    let centre = builder.node("Add", "head.centre", &[&scaled, &corners], vec![]);
    let sizes = builder.reals("head.anchors.fourfold", &[1, count, 2], &sizes);
    let squared = builder.node("Mul", "head.size.squared", &[&size, &size], vec![]);
    let size = builder.node("Mul", "head.size", &[&squared, &sizes], vec![]);
    let rows = concat(builder, "head.rows", &[centre, size, scores], 2);
    Decoded { values: DecodedValues::Anchors(rows), places: count }
}
