//! Class-aware non-maximum suppression: of boxes of a class that overlap, the most confident stays.

use super::detection::Detection;
use crate::boxes::{Corners, area};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NmsOptions {
    /// A box goes if its intersection over union with a kept box of its class is larger than this.
    pub iou: f32,
    /// At most this many boxes are kept, the most confident.
    pub max_detections: usize,
    /// At most this many boxes are looked at, the most confident.
    pub max_candidates: usize,
}

impl Default for NmsOptions {
    fn default() -> Self {
        Self { iou: 0.45, max_detections: 300, max_candidates: 30_000 }
    }
}

/// The boxes that stay, most confident first. Of equally confident boxes the earlier one goes first; boxes whose
/// confidence is not a number are dropped.
pub fn suppress(mut candidates: Vec<Detection>, options: NmsOptions) -> Vec<Detection> {
    candidates.retain(|candidate| !candidate.confidence.is_nan());
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    candidates.truncate(options.max_candidates);
    let classes = candidates.iter().map(|candidate| candidate.class + 1).max().unwrap_or(0);
    let mut kept_of = vec![Kept::default(); classes];
    let arch = pulp::Arch::new();
    let mut kept = Vec::with_capacity(options.max_detections.min(candidates.len()));
    for candidate in candidates {
        if kept.len() == options.max_detections {
            break;
        }
        let of_class = &mut kept_of[candidate.class];
        if !arch.dispatch(|| of_class.overlaps(candidate.corners, options.iou)) {
            of_class.push(candidate.corners);
            kept.push(candidate);
        }
    }
    kept
}

const LANES: usize = 16;

/// The kept boxes of a class, a column a coordinate, in blocks that vector instructions take at once. Unused places hold
/// boxes that overlap nothing.
#[derive(Clone, Default)]
struct Kept {
    blocks: Vec<Block>,
    used: usize,
}

#[derive(Clone)]
struct Block {
    left: [f32; LANES],
    top: [f32; LANES],
    right: [f32; LANES],
    bottom: [f32; LANES],
    area: [f32; LANES],
}

impl Kept {
    fn push(&mut self, corners: Corners) {
        let lane = self.used % LANES;
        if lane == 0 {
            let nowhere = [f32::INFINITY; LANES];
            let none = [f32::NEG_INFINITY; LANES];
            self.blocks.push(Block { left: nowhere, top: nowhere, right: none, bottom: none, area: [0.0; LANES] });
        }
        let block = &mut self.blocks[self.used / LANES];
        [block.left[lane], block.top[lane], block.right[lane], block.bottom[lane]] = corners;
        block.area[lane] = area(corners);
        self.used += 1;
    }

    #[inline(always)]
    fn overlaps(&self, corners: Corners, limit: f32) -> bool {
        let own = area(corners);
        self.blocks.iter().any(|block| block.overlaps(corners, own, limit))
    }
}

impl Block {
    #[inline(always)]
    fn overlaps(&self, [left, top, right, bottom]: Corners, own: f32, limit: f32) -> bool {
        let mut any = false;
        for lane in 0..LANES {
            let width = (right.min(self.right[lane]) - left.max(self.left[lane])).max(0.0);
            let height = (bottom.min(self.bottom[lane]) - top.max(self.top[lane])).max(0.0);
            let both = width * height;
            any |= both / (own + self.area[lane] - both) > limit;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::iou;

    fn random_boxes(count: usize, seed: u64) -> Vec<Detection> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let detection = |_| {
            let [x, y, w, h] = [next() * 80.0, next() * 80.0, 5.0 + next() * 30.0, 5.0 + next() * 30.0];
            let confidence = (next() * 50.0).floor() / 50.0;
            Detection { corners: [x, y, x + w, y + h], confidence, class: (next() * 3.0) as usize }
        };
        (0..count).map(detection).collect()
    }

    /// By definition, without blocks or early ends.
    fn plain(mut candidates: Vec<Detection>, limit: f32) -> Vec<Detection> {
        candidates.sort_by(|a, b| b.confidence.partial_cmp(&a.confidence).unwrap());
        let mut kept: Vec<Detection> = Vec::new();
        for one in candidates {
            if !kept.iter().any(|other| other.class == one.class && iou(other.corners, one.corners) > limit) {
                kept.push(one);
            }
        }
        kept
    }

    #[test]
    fn equals_the_definition() {
        for seed in 0..20 {
            let boxes = random_boxes(200, seed);
            let options = NmsOptions { iou: 0.3, ..NmsOptions::default() };
            assert_eq!(suppress(boxes.clone(), options), plain(boxes.clone(), 0.3));
            let few = suppress(boxes.clone(), NmsOptions { max_detections: 7, ..options });
            assert_eq!(few, plain(boxes, 0.3)[..7]);
        }
    }

    #[test]
    fn is_idempotent_and_keeps_classes_apart() {
        let boxes = random_boxes(300, 5);
        let options = NmsOptions::default();
        let once = suppress(boxes.clone(), options);
        assert_eq!(suppress(once.clone(), options), once);
        let twin = Detection { class: 7, ..boxes[0] };
        assert_eq!(suppress(vec![boxes[0], twin, boxes[0]], options).len(), 2);
    }

    #[test]
    fn degenerate_boxes() {
        let options = NmsOptions::default();
        assert!(suppress(Vec::new(), options).is_empty());
        let point = Detection { corners: [3.0; 4], confidence: 0.5, class: 0 };
        assert_eq!(suppress(vec![point, point], options).len(), 2, "boxes without area overlap nothing");
        let unknown = Detection { confidence: f32::NAN, ..point };
        assert_eq!(suppress(vec![unknown, point], options), [point]);
        assert!(suppress(vec![point], NmsOptions { max_detections: 0, ..options }).is_empty());
        assert!(suppress(vec![point], NmsOptions { max_candidates: 0, ..options }).is_empty());
    }
}
