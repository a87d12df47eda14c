//! Task-aligned assignment (Feng et al. 2021, "TOOD"), as Ultralytics 8.4.190 has it (`TaskAlignedAssigner`): which cells
//! answer for which target, and how strongly.

use super::ciou::clamped_ciou;
use crate::boxes::{Corners, Truth};

/// The rule of the assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskAligned {
    /// Cells that each target takes at most.
    pub top: usize,
    /// Exponent of the class score in the alignment.
    pub alpha: f32,
    /// Exponent of the overlap in the alignment.
    pub beta: f32,
    /// Sides of targets shorter than this many pixels are lengthened to it when cells inside are looked for.
    pub least_side: f32,
}

/// A cell that answers for a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Assigned {
    /// Index of the cell, over all levels.
    pub cell: usize,
    /// Index of the target among the image's own.
    pub target: usize,
    /// The class score that the cell should give, in [0, 1].
    pub score: f32,
}

/// A cell inside a target.
struct Candidate {
    cell: usize,
    overlap: f32,
    alignment: f32,
}

const EPS: f32 = 1e-9;

impl TaskAligned {
    /// Assigns the cells of one image. `centres` are in pixels; `score(cell, class)` gives the predicted class score in
    /// [0, 1] and `prediction(cell)` the predicted box in pixels, both asked for cells inside targets only.
    ///
    /// A cell that several targets take goes to the one it overlaps most (of all the targets it lies in); the score is
    /// the alignment, scaled so that each target's best equals that target's best overlap.
    pub(super) fn assign(
        &self,
        targets: &[Truth],
        centres: &[[f32; 2]],
        score: impl Fn(usize, usize) -> f32,
        prediction: impl Fn(usize) -> Corners,
    ) -> Vec<Assigned> {
        let mut known: Vec<Option<Corners>> = vec![None; centres.len()];
        let candidates: Vec<Vec<Candidate>> = targets
            .iter()
            .map(|target| {
                let [left, top, right, bottom] = self.reach(target.bounds);
                let within = |&(_, &[x, y]): &(usize, &[f32; 2])| {
                    x - left > EPS && y - top > EPS && right - x > EPS && bottom - y > EPS
                };
                let candidate = |(cell, _): (usize, &[f32; 2])| {
                    let predicted = known[cell].get_or_insert_with(|| prediction(cell));
                    let overlap = clamped_ciou(target.bounds, *predicted);
                    let alignment = match overlap > 0.0 {
                        true => score(cell, target.class).powf(self.alpha) * overlap.powf(self.beta),
                        false => 0.0,
                    };
                    Candidate { cell, overlap, alignment }
                };
                centres.iter().enumerate().filter(within).map(candidate).collect()
            })
            .collect();

        // Who takes each cell: nobody, one target, or several, in which case the greatest overlap decides.
        let mut takers: Vec<(u32, usize)> = vec![(0, 0); centres.len()];
        for (target, candidates) in candidates.iter().enumerate() {
            let mut order: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.alignment > 0.0).collect();
            order.sort_by(|a, b| b.alignment.total_cmp(&a.alignment).then(a.cell.cmp(&b.cell)));
            for candidate in order.into_iter().take(self.top) {
                let taker = &mut takers[candidate.cell];
                *taker = (taker.0 + 1, target);
            }
        }
        let mut greatest: Vec<(f32, usize)> = vec![(0.0, 0); centres.len()];
        for (target, candidates) in candidates.iter().enumerate() {
            for candidate in candidates.iter().filter(|candidate| takers[candidate.cell].0 > 1) {
                let best = &mut greatest[candidate.cell];
                if candidate.overlap > best.0 {
                    *best = (candidate.overlap, target);
                }
            }
        }
        let owner = |cell: usize| match takers[cell] {
            (0, _) => None,
            (1, target) => Some(target),
            _ => Some(greatest[cell].1),
        };

        let mut assigned = Vec::new();
        for (target, candidates) in candidates.iter().enumerate() {
            let own: Vec<&Candidate> = candidates.iter().filter(|c| owner(c.cell) == Some(target)).collect();
            let most = |part: fn(&Candidate) -> f32| own.iter().map(|candidate| part(candidate)).fold(0.0, f32::max);
            let (alignment, overlap) = (most(|candidate| candidate.alignment), most(|candidate| candidate.overlap));
            assigned.extend(own.iter().map(|candidate| Assigned {
                cell: candidate.cell,
                target,
                score: candidate.alignment * overlap / (alignment + EPS),
            }));
        }
        assigned
    }

    fn reach(&self, [left, top, right, bottom]: Corners) -> Corners {
        let longer = |low: f32, high: f32| match high - low < self.least_side {
            true => ((low + high - self.least_side) / 2.0, (low + high + self.least_side) / 2.0),
            false => (low, high),
        };
        let ((left, right), (top, bottom)) = (longer(left, right), longer(top, bottom));
        [left, top, right, bottom]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_overlap_wins_a_contested_cell_and_scores_are_scaled_to_it() {
        let rule = TaskAligned { top: 2, alpha: 0.5, beta: 6.0, least_side: 16.0 };
        let centres: Vec<[f32; 2]> = (0..6).map(|index| [4.0 + 8.0 * index as f32, 4.0]).collect();
        let corners = |left: f32, right: f32| [left, 0.0, right, 8.0];
        let targets = [Truth { class: 0, bounds: corners(0.0, 24.0) }, Truth { class: 1, bounds: corners(8.0, 32.0) }];
        // Cells 1 and 2 lie in both targets; cell 1 predicts the first exactly, cell 2 the second.
        let boxes = [corners(0.0, 20.0), corners(0.0, 24.0), corners(8.0, 32.0), corners(12.0, 30.0)];
        let assigned = rule.assign(&targets, &centres, |_, _| 0.64, |cell| boxes[cell]);
        let pairs: Vec<_> = assigned.iter().map(|a| (a.cell, a.target)).collect();
        assert_eq!(pairs, [(0, 0), (1, 0), (2, 1), (3, 1)]);
        let best = assigned.iter().find(|a| a.cell == 1).unwrap();
        assert!((best.score - 1.0).abs() < 1e-5);
        let other = assigned.iter().find(|a| a.cell == 0).unwrap();
        let expected = clamped_ciou(targets[0].bounds, boxes[0]).powi(6);
        assert!((other.score - expected).abs() < 1e-5, "{} against {expected}", other.score);
    }

    #[test]
    fn a_small_target_still_reaches_cells() {
        let rule = TaskAligned { top: 10, alpha: 0.5, beta: 6.0, least_side: 16.0 };
        let target = Truth { class: 0, bounds: [7.0, 7.0, 9.0, 9.0] };
        let centres = [[4.0, 4.0], [12.0, 12.0], [20.0, 4.0]];
        let near = [6.0, 6.0, 10.0, 10.0];
        let assigned = rule.assign(&[target], &centres, |_, _| 0.5, |_| near);
        assert_eq!(assigned.iter().map(|a| a.cell).collect::<Vec<_>>(), [0, 1]);
    }
}
