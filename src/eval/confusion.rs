//! What labelled boxes are taken for.

use super::{detection::ImageResult, options::ConfusionOptions};
use crate::boxes::{Corners, iou};

/// Boxes found against boxes labelled, counted by class.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// `counts[found][labelled]`; the last index of both is the background: labels that nothing stands for, and boxes found
    /// where nothing is labelled.
    pub counts: Vec<Vec<usize>>,
    /// Which boxes counted.
    pub options: ConfusionOptions,
}

impl Confusion {
    /// The number of classes, without the background.
    pub fn classes(&self) -> usize {
        self.counts.len().saturating_sub(1)
    }

    /// The share that a count is of all that were labelled so; not a number where there are none.
    pub fn share(&self, found: usize, labelled: usize) -> f64 {
        let all: usize = self.counts.iter().map(|row| row[labelled]).sum();
        self.counts[found][labelled] as f64 / if all == 0 { f64::NAN } else { all as f64 }
    }
}

/// Counts what the labelled boxes of some images are taken for, as Ultralytics (8.4) defines it: whatever its class, a box
/// found stands for the label that it overlaps most, and of several for one label the one that overlaps it most counts.
pub fn confusion(images: &[ImageResult], classes: usize, options: ConfusionOptions) -> Confusion {
    let mut counts = vec![vec![0; classes + 1]; classes + 1];
    for image in images {
        let found: Vec<_> = image.detections().iter().filter(|found| found.confidence > options.conf).collect();
        let overlaps = Overlaps {
            found: &found.iter().map(|found| found.corners).collect::<Vec<_>>(),
            labelled: &image.truths().iter().map(|truth| truth.bounds).collect::<Vec<_>>(),
        };
        let pairs = pair_up(overlaps, options.iou);
        for (truth, pair) in image.truths().iter().zip(&pairs) {
            let row = pair.map_or(classes, |at| found[at].class);
            counts[row.min(classes)][truth.class.min(classes)] += 1;
        }
        let stray = (0..found.len()).filter(|at| !pairs.contains(&Some(*at)));
        stray.for_each(|at| counts[found[at].class.min(classes)][classes] += 1);
    }
    Confusion { counts, options }
}

/// Boxes of two kinds in the same image.
pub(crate) struct Overlaps<'a> {
    pub found: &'a [Corners],
    pub labelled: &'a [Corners],
}

/// For each label the box that stands for it: each box chooses the label that it overlaps most, by more than `threshold`,
/// and each label keeps the one that overlaps it most of those that chose it.
pub(crate) fn pair_up(Overlaps { found, labelled }: Overlaps, threshold: f32) -> Vec<Option<usize>> {
    let mut pairs: Vec<Option<(usize, f32)>> = vec![None; labelled.len()];
    for (at, &corners) in found.iter().enumerate() {
        let mut chosen = None;
        let mut most = threshold;
        for (label, &bounds) in labelled.iter().enumerate() {
            let overlap = iou(bounds, corners);
            if overlap > most {
                (chosen, most) = (Some(label), overlap);
            }
        }
        if let Some(pair) = chosen.map(|label| &mut pairs[label])
            && pair.is_none_or(|(_, before)| most > before)
        {
            *pair = Some((at, most));
        }
    }
    pairs.into_iter().map(|pair| pair.map(|(at, _)| at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{boxes::Truth, eval::Detection};

    fn at(left: f32) -> Corners {
        [left, 0.0, left + 10.0, 10.0]
    }

    fn found(left: f32, confidence: f32, class: usize) -> Detection {
        Detection { corners: at(left), confidence, class }
    }

    fn label(left: f32, class: usize) -> Truth {
        Truth { bounds: at(left), class }
    }

    /// By hand: a right box; a label taken for another class; a label that only an unsure box stands for; a second, worse
    /// box on a label; a box where nothing is; an image without labels.
    #[test]
    fn a_case_counted_by_hand() {
        let first = ImageResult::new(
            vec![
                found(1.0, 0.9, 0),
                found(0.0, 0.5, 0),
                found(100.0, 0.8, 1),
                found(200.0, 0.2, 0),
                found(300.0, 0.6, 1),
            ],
            vec![label(0.0, 0), label(100.0, 0), label(200.0, 1)],
        );
        let empty = ImageResult::new(vec![found(0.0, 0.7, 0)], vec![]);
        let matrix = confusion(&[first, empty], 2, ConfusionOptions::default());
        assert_eq!(
            matrix.counts,
            [
                // labelled 0, 1, nothing
                [1, 0, 2],
                [1, 0, 1],
                [0, 1, 0],
            ]
        );
        assert_eq!(matrix.classes(), 2);
        assert_eq!((matrix.share(0, 0), matrix.share(2, 1)), (0.5, 1.0));
        assert!(confusion(&[], 1, ConfusionOptions::default()).share(0, 0).is_nan());
    }

    /// A box that overlaps two labels stands for the nearer one, even where another box has that already.
    #[test]
    fn a_box_has_no_second_choice() {
        let (boxes, labels) = ([at(0.0), at(1.0)], [at(0.0), at(4.0)]);
        for threshold in [0.45, 0.99] {
            let overlaps = Overlaps { found: &boxes, labelled: &labels };
            assert_eq!(pair_up(overlaps, threshold), [Some(0), None]);
        }
        let exactly = Overlaps { found: &[at(0.0)], labelled: &[at(0.0)] };
        assert_eq!(pair_up(exactly, 1.0), [None], "it has to be more");
    }

    #[test]
    fn confidence_has_to_be_more_than_asked_for() {
        let image = ImageResult::new(vec![found(0.0, 0.25, 0)], vec![label(0.0, 0)]);
        let options = ConfusionOptions::default();
        assert_eq!(confusion(std::slice::from_ref(&image), 1, options).counts, [[0, 0], [1, 0]]);
        let lower = ConfusionOptions { conf: 0.2, ..options };
        assert_eq!(confusion(&[image], 1, lower).counts, [[1, 0], [0, 0]]);
    }
}
