//! Task-aligned assignment (Feng et al. 2021, "TOOD"): which cells answer for which target, and how strongly.

use super::ciou::{Corners, clamped_ciou};

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

/// A target of one image, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub class: usize,
    pub corners: Corners,
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
        goals: &[Goal],
        centres: &[[f32; 2]],
        score: impl Fn(usize, usize) -> f32,
        prediction: impl Fn(usize) -> Corners,
    ) -> Vec<Assigned> {
        let mut known: Vec<Option<Corners>> = vec![None; centres.len()];
        let candidates: Vec<Vec<Candidate>> = goals
            .iter()
            .map(|goal| {
                let inside = self.reach(&goal.corners);
                let within = |&(_, &[x, y]): &(usize, &[f32; 2])| {
                    x - inside.x1 > EPS && y - inside.y1 > EPS && inside.x2 - x > EPS && inside.y2 - y > EPS
                };
                let candidate = |(cell, _): (usize, &[f32; 2])| {
                    let predicted = known[cell].get_or_insert_with(|| prediction(cell));
                    let overlap = clamped_ciou(&goal.corners, predicted);
                    let alignment = match overlap > 0.0 {
                        true => score(cell, goal.class).powf(self.alpha) * overlap.powf(self.beta),
                        false => 0.0,
                    };
                    Candidate { cell, overlap, alignment }
                };
                centres.iter().enumerate().filter(within).map(candidate).collect()
            })
            .collect();

        // Who takes each cell: nobody, one target, or several, in which case the greatest overlap decides.
        let mut takers: Vec<(u32, usize)> = vec![(0, 0); centres.len()];
        for (goal, candidates) in candidates.iter().enumerate() {
            let mut order: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.alignment > 0.0).collect();
            order.sort_by(|a, b| b.alignment.total_cmp(&a.alignment).then(a.cell.cmp(&b.cell)));
            for candidate in order.into_iter().take(self.top) {
                let taker = &mut takers[candidate.cell];
                *taker = (taker.0 + 1, goal);
            }
        }
        let mut greatest: Vec<(f32, usize)> = vec![(0.0, 0); centres.len()];
        for (goal, candidates) in candidates.iter().enumerate() {
            for candidate in candidates.iter().filter(|candidate| takers[candidate.cell].0 > 1) {
                let best = &mut greatest[candidate.cell];
                if candidate.overlap > best.0 {
                    *best = (candidate.overlap, goal);
                }
            }
        }
        let owner = |cell: usize| match takers[cell] {
            (0, _) => None,
            (1, goal) => Some(goal),
            _ => Some(greatest[cell].1),
        };

        let mut assigned = Vec::new();
        for (goal, candidates) in candidates.iter().enumerate() {
            let own: Vec<&Candidate> = candidates.iter().filter(|c| owner(c.cell) == Some(goal)).collect();
            let most = |part: fn(&Candidate) -> f32| own.iter().map(|candidate| part(candidate)).fold(0.0, f32::max);
            let (alignment, overlap) = (most(|candidate| candidate.alignment), most(|candidate| candidate.overlap));
            assigned.extend(own.iter().map(|candidate| Assigned {
                cell: candidate.cell,
                target: goal,
                score: candidate.alignment * overlap / (alignment + EPS),
            }));
        }
        assigned
    }

    fn reach(&self, corners: &Corners) -> Corners {
        let longer = |low: f32, high: f32| match high - low < self.least_side {
            true => ((low + high - self.least_side) / 2.0, (low + high + self.least_side) / 2.0),
            false => (low, high),
        };
        let ((x1, x2), (y1, y2)) = (longer(corners.x1, corners.x2), longer(corners.y1, corners.y2));
        Corners { x1, y1, x2, y2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_overlap_wins_a_contested_cell_and_scores_are_scaled_to_it() {
        let rule = TaskAligned { top: 2, alpha: 0.5, beta: 6.0, least_side: 16.0 };
        let centres: Vec<[f32; 2]> = (0..6).map(|index| [4.0 + 8.0 * index as f32, 4.0]).collect();
        let corners = |x1: f32, x2: f32| Corners { x1, y1: 0.0, x2, y2: 8.0 };
        let goals = [Goal { class: 0, corners: corners(0.0, 24.0) }, Goal { class: 1, corners: corners(8.0, 32.0) }];
        // Cells 1 and 2 lie in both targets; cell 1 predicts the first exactly, cell 2 the second.
        let boxes = [corners(0.0, 20.0), corners(0.0, 24.0), corners(8.0, 32.0), corners(12.0, 30.0)];
        let assigned = rule.assign(&goals, &centres, |_, _| 0.64, |cell| boxes[cell]);
        let pairs: Vec<_> = assigned.iter().map(|a| (a.cell, a.target)).collect();
        assert_eq!(pairs, [(0, 0), (1, 0), (2, 1), (3, 1)]);
        let best = assigned.iter().find(|a| a.cell == 1).unwrap();
        assert!((best.score - 1.0).abs() < 1e-5);
        let other = assigned.iter().find(|a| a.cell == 0).unwrap();
        let expected = clamped_ciou(&goals[0].corners, &boxes[0]).powi(6);
        assert!((other.score - expected).abs() < 1e-5, "{} against {expected}", other.score);
    }

    #[test]
    fn a_small_target_still_reaches_cells() {
        let rule = TaskAligned { top: 10, alpha: 0.5, beta: 6.0, least_side: 16.0 };
        let goal = Goal { class: 0, corners: Corners { x1: 7.0, y1: 7.0, x2: 9.0, y2: 9.0 } };
        let centres = [[4.0, 4.0], [12.0, 12.0], [20.0, 4.0]];
        let near = Corners { x1: 6.0, y1: 6.0, x2: 10.0, y2: 10.0 };
        let assigned = rule.assign(&[goal], &centres, |_, _| 0.5, |_| near);
        assert_eq!(assigned.iter().map(|a| a.cell).collect::<Vec<_>>(), [0, 1]);
    }
}
