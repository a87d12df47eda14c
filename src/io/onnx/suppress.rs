//! Non-maximum suppression in the graph: (1, `max_det`, 6), of each box left, top, right, bottom in pixels, confidence and
//! class, most confident first; rows of zeros where there are fewer boxes.
//!
//! It keeps what `eval::suppress` keeps of each place's best class. Boxes come to the operator sorted and of one class,
//! those of different classes moved apart, so that what engines do differently makes no difference: the order they look at
//! boxes in, and whether boxes of different classes suppress each other.

use super::builder::{Builder, int, ints};
use super::head::{DecodedValues, slice};
use super::options::ExportOptions;
use super::proto::ElementType;
use crate::model::{Detector, Head};

/// At most this many boxes are looked at, the most confident.
const CANDIDATES: usize = 30_000;

/// Adds it; gives the name of the rows. `places` is how many boxes there are, `iou` that of the detector's family.
pub(super) fn suppress(
    builder: &mut Builder,
    detector: &Detector,
    decoded: &DecodedValues,
    places: usize,
    options: &ExportOptions,
) -> String {
    let (boxes, scores) = boxes_and_scores(builder, detector, decoded);
    // The best class of each place; engines differ in which of equal ones an ArgMax gives.
    let [best, class] = builder.top(&scores, 1, 1, ["nms.best", "nms.class"]);
    let line = builder.indices("nms.line.shape", &[-1]);
    let best = builder.node("Reshape", "nms.best.line", &[&best, &line], vec![]);
    let class = builder.node("Reshape", "nms.class.line", &[&class, &line], vec![]);
    let [best, order] = builder.top(&best, places.min(CANDIDATES) as i64, 0, ["nms.confidence", "nms.order"]);
    let class = builder.node("Gather", "nms.class.sorted", &[&class, &order], vec![int("axis", 0)]);
    let corners = corners(builder, &boxes);
    let corners = builder.node("Gather", "nms.corners", &[&corners, &order], vec![int("axis", 0)]);

    let apart = apart(detector, options.size);
    let apart = builder.reals("nms.apart", &[detector.classes.len(), 4], &apart.concat());
    let shift = builder.node("Gather", "nms.shift", &[&apart, &class], vec![int("axis", 0)]);
    let moved = builder.node("Add", "nms.moved", &[&corners, &shift], vec![]);
    let shape = builder.indices("nms.boxes.shape", &[1, -1, 4]);
    let moved = builder.node("Reshape", "nms.boxes", &[&moved, &shape], vec![]);
    let shape = builder.indices("nms.scores.shape", &[1, 1, -1]);
    let scores = builder.node("Reshape", "nms.scores", &[&best, &shape], vec![]);
    let most = builder.indices("nms.max_det", &[options.max_det as i64]);
    let iou = builder.fp32("nms.iou", &[1], &[options.iou_of(&detector.head)]);
    let conf = builder.fp32("nms.conf", &[1], &[options.conf]);
    let kept = builder.node("NonMaxSuppression", "nms.kept", &[&moved, &scores, &most, &iou, &conf], vec![]);

    let third = builder.index("nms.third", 2);
    let kept = builder.node("Gather", "nms.kept.places", &[&kept, &third], vec![int("axis", 1)]);
    let float = vec![int("to", ElementType::Float as i64)];
    let class = builder.node("Cast", "nms.class.float", &[&class], float);
    let column = builder.indices("nms.column.shape", &[-1, 1]);
    let mut columns = vec![corners];
    for (value, name) in [(best, "nms.confidence.column"), (class, "nms.class.column")] {
        columns.push(builder.node("Reshape", name, &[&value, &column], vec![]));
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = builder.node("Concat", "nms.rows", &columns, vec![int("axis", 1)]);
    let rows = builder.node("Gather", "nms.rows.kept", &[&rows, &kept], vec![int("axis", 0)]);
    let zeros = builder.reals("nms.zeros", &[options.max_det, 6], &vec![0.0; options.max_det * 6]);
    let rows = builder.node("Concat", "nms.rows.padded", &[&rows, &zeros], vec![int("axis", 0)]);
    let rows = slice(builder, "nms.rows.first", &rows, 0, [0, options.max_det as i64]);
    let shape = builder.indices("nms.output.shape", &[1, options.max_det as i64, 6]);
    builder.node("Reshape", "output0", &[&rows, &shape], vec![])
}

/// Boxes (1, places, 4) as x, y, w, h, and confidences (1, classes, places).
fn boxes_and_scores(builder: &mut Builder, detector: &Detector, decoded: &DecodedValues) -> (String, String) {
    let turned = || vec![ints("perm", [0, 2, 1])];
    match decoded {
        DecodedValues::Distribution { boxes, scores } => {
            (builder.node("Transpose", "nms.xywh", &[boxes], turned()), scores.clone())
        }
        DecodedValues::Anchors(rows) => {
            let all = 5 + detector.classes.len() as i64;
            let [boxes, object, classes] = [("xywh", [0, 4]), ("objectness", [4, 5]), ("classes", [5, all])]
                .map(|(what, range)| slice(builder, &format!("nms.{what}"), rows, 2, range));
            let confidences = builder.node("Mul", "nms.confidences", &[&object, &classes], vec![]);
            (boxes, builder.node("Transpose", "nms.confidences.turned", &[&confidences], turned()))
        }
    }
}

/// Boxes (places, 4) as left, top, right, bottom.
fn corners(builder: &mut Builder, boxes: &str) -> String {
    let shape = builder.indices("nms.plain.shape", &[-1, 4]);
    let boxes = builder.node("Reshape", "nms.plain", &[boxes, &shape], vec![]);
    let centre = slice(builder, "nms.centre", &boxes, 1, [0, 2]);
    let size = slice(builder, "nms.size", &boxes, 1, [2, 4]);
    let half = builder.reals("head.half", &[1], &[0.5]);
    let half = builder.node("Mul", "nms.size.half", &[&size, &half], vec![]);
    let before = builder.node("Sub", "nms.left_top", &[&centre, &half], vec![]);
    let after = builder.node("Add", "nms.right_bottom", &[&centre, &half], vec![]);
    builder.node("Concat", "nms.corners.all", &[&before, &after], vec![int("axis", 1)])
}

/// How far the boxes of each class are moved so that they meet no others: onto the squares of a chessboard, for numbers
/// stay small there, and so exact.
fn apart(detector: &Detector, size: usize) -> Vec<[f32; 4]> {
    let stride = detector.strides.iter().copied().max().unwrap_or(1);
    let beyond = match &detector.head {
        Head::Anchors { anchors } => {
            stride as f32 + 2.0 * anchors.iter().flatten().flatten().fold(0.0f32, |most, &side| most.max(side))
        }
        Head::Distribution { reg_max } => (reg_max * stride) as f32,
    };
    let (square, row) =
        ((size as f32 + 2.0 * beyond).ceil() + 1.0, (detector.classes.len() as f32).sqrt().ceil() as usize);
    let place = |class: usize| {
        let [x, y] = [class % row, class / row].map(|at| at as f32 * square);
        [x, y, x, y]
    };
    (0..detector.classes.len()).map(place).collect()
}
