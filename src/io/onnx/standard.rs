//! Non-maximum suppression as ONNX defines it (operator NonMaxSuppression, version 11).

use crate::boxes::{Corners, iou};

/// How much is kept.
pub(super) struct Limits {
    /// At most this many boxes of a class.
    pub most: usize,
    /// A box goes if its intersection over union with a kept box of its class is larger.
    pub iou: f32,
    /// Boxes that do not score more go.
    pub score: f32,
}

/// The boxes that stay, as (image, class, box): image by image, class by class, best first. `boxes` are those of
/// all images, four numbers each; `scores` have the shape (images, classes, boxes).
pub(super) fn suppress(
    boxes: &[f32],
    scores: &[f32],
    [images, classes, count]: [usize; 3],
    limits: &Limits,
) -> Vec<[i32; 3]> {
    let corners = |image: usize, place: usize| -> Corners {
        let at = 4 * (image * count + place);
        let [a, b, c, d] = [0, 1, 2, 3].map(|side| boxes[at + side]);
        // Any two corners that face each other.
        [a.min(c), b.min(d), a.max(c), b.max(d)]
    };
    let mut found = Vec::new();
    for image in 0..images {
        for class in 0..classes {
            let scores = &scores[(image * classes + class) * count..][..count];
            let mut order: Vec<usize> = (0..count).filter(|&place| scores[place] > limits.score).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut kept: Vec<Corners> = Vec::new();
            for place in order {
                let own = corners(image, place);
                if kept.len() < limits.most && !kept.iter().any(|&other| iou(other, own) > limits.iou) {
                    kept.push(own);
                    found.push([image as i32, class as i32, place as i32]);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_boxes_of_a_class_go() {
        // Two that overlap by 0.6, one apart.
        let boxes = [0.0, 0.0, 4.0, 1.0, 5.0, 1.0, 1.0, 0.0, 9.0, 9.0, 8.0, 8.0];
        let scores = [0.5, 0.9, 0.7, 0.0, 0.2, 0.2];
        let limits = Limits { most: 5, iou: 0.5, score: 0.1 };
        let kept = suppress(&boxes, &scores, [1, 2, 3], &limits);
        assert_eq!(kept, [[0, 0, 1], [0, 0, 2], [0, 1, 1], [0, 1, 2]]);
        let kept = suppress(&boxes, &scores, [1, 2, 3], &Limits { most: 1, iou: 0.6001, ..limits });
        assert_eq!(kept, [[0, 0, 1], [0, 1, 1]]);
    }
}
