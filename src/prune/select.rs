//! How many coupled channels every group keeps, so that the amount asked for is met.
//!
//! All coupled channels are put in one order, least important first. What goes is a beginning of that order, within each group's
//! limits and rounded; its length is found by bisection over exact costs. Single steps of groups then close the gap
//! that whole channels leave.

use super::{
    cost::CostModel,
    error::PruneError,
    groups::{GroupId, Groups},
    options::{Amount, PruneOptions},
};

/// A gap to the target, as a share of the whole, that is not worth closing.
const CLOSE: f64 = 5e-4;
/// A gap that is an error: the steps are too coarse for the target.
const TOO_FAR: f64 = 0.05;

/// What a group may keep.
#[derive(Clone, Copy, Debug)]
struct Limits {
    floor: usize,
    full: usize,
    round_to: usize,
}

impl Limits {
    fn new(full: usize, ignored: bool, options: &PruneOptions) -> Self {
        let most = (full as f64 * options.max_ratio + 1e-9).floor() as usize;
        let floor = (full - most).max(options.min_channels).div_ceil(options.round_to) * options.round_to;
        Self { floor: if ignored { full } else { floor.min(full) }, full, round_to: options.round_to }
    }

    /// The allowed count nearest to `kept`.
    fn nearest(self, kept: usize) -> usize {
        let rounded = (kept + self.round_to / 2) / self.round_to * self.round_to;
        if kept == self.full { self.full } else { rounded.clamp(self.floor, self.full) }
    }

    /// The allowed count before or after `kept`.
    fn step(self, kept: usize, down: bool) -> Option<usize> {
        let next = if down {
            (kept.checked_sub(1)? / self.round_to * self.round_to).max(self.floor)
        } else {
            ((kept / self.round_to + 1) * self.round_to).min(self.full)
        };
        (next != kept && next >= self.floor).then_some(next)
    }
}

/// How many coupled channels every group keeps. `ranking` holds every group's keys in ascending order; `ignored` groups keep
/// all.
///
/// # Errors
/// Where the target is below what the limits allow, or lies between two steps that are far apart.
pub(super) fn select(
    groups: &Groups,
    costs: &CostModel,
    ranking: &[Vec<(f64, usize)>],
    ignored: &[bool],
    options: &PruneOptions,
) -> Result<Vec<usize>, PruneError> {
    let full: Vec<usize> = groups.all().iter().map(|group| group.coupled.len()).collect();
    let limits: Vec<Limits> =
        full.iter().zip(ignored).map(|(&full, &ignored)| Limits::new(full, ignored, options)).collect();
    let open = |kept: &[usize]| -> f64 {
        kept.iter().zip(ignored).filter(|(_, ignored)| !**ignored).map(|(&kept, _)| kept as f64).sum()
    };
    let (what, target): (_, f64) = match options.amount {
        Amount::Ratio(ratio) => ("prunable channels", 1.0 - ratio),
        Amount::Macs(share) => ("MACs", share),
        Amount::Params(share) => ("parameters", share),
    };
    let measure = |kept: &[usize]| match options.amount {
        Amount::Ratio(_) => open(kept),
        Amount::Macs(_) => costs.cost(kept).macs as f64,
        Amount::Params(_) => costs.cost(kept).params as f64,
    };
    let whole = measure(&full).max(1.0);
    let gap = |kept: &[usize]| measure(kept) / whole - target;

    let floor: Vec<usize> = limits.iter().map(|limits| limits.floor).collect();
    if gap(&floor) > CLOSE {
        let least = 100.0 * (gap(&floor) + target);
        return Err(PruneError::Unreachable { what, asked: 100.0 * target, least });
    }
    let search = Search { ranking, limits: &limits };
    let mut kept = search.bisect(&gap);
    search.close_gap(&mut kept, &gap);
    let left = gap(&kept);
    if left.abs() > TOO_FAR {
        return Err(PruneError::TooCoarse { what, asked: 100.0 * target, nearest: 100.0 * (left + target) });
    }
    Ok(kept)
}

struct Search<'a> {
    ranking: &'a [Vec<(f64, usize)>],
    limits: &'a [Limits],
}

impl Search<'_> {
    /// The beginning of the order that comes nearest to the target.
    fn bisect(&self, gap: &impl Fn(&[usize]) -> f64) -> Vec<usize> {
        let mut order: Vec<(f64, GroupId)> = self
            .ranking
            .iter()
            .enumerate()
            .flat_map(|(group, keys)| keys.iter().map(move |&(key, _)| (key, group)))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let kept_after = |count: usize| -> Vec<usize> {
            let mut kept: Vec<usize> = self.limits.iter().map(|limits| limits.full).collect();
            order[..count].iter().for_each(|&(_, group)| kept[group] -= 1);
            kept.iter().zip(self.limits).map(|(&kept, limits)| limits.nearest(kept)).collect()
        };
        let (mut low, mut high) = (0, order.len());
        while low < high {
            let middle = low.midpoint(high);
            if gap(&kept_after(middle)) > 0.0 { low = middle + 1 } else { high = middle }
        }
        let (below, above) = (kept_after(low), kept_after(low.saturating_sub(1)));
        if gap(&above).abs() < gap(&below).abs() { above } else { below }
    }

    /// Moves single groups by a step while that brings the target nearer; of several steps that close the gap, the
    /// one whose channels are nearest to the threshold.
    fn close_gap(&self, kept: &mut [usize], gap: &impl Fn(&[usize]) -> f64) {
        loop {
            let now = gap(kept);
            if now.abs() <= CLOSE {
                return;
            }
            let down = now > 0.0;
            let mut best: Option<(f64, f64, GroupId, usize)> = None;
            for (group, limits) in self.limits.iter().enumerate() {
                let Some(next) = limits.step(kept[group], down) else { continue };
                let before = std::mem::replace(&mut kept[group], next);
                let then = gap(kept).abs();
                kept[group] = before;
                if then >= now.abs() {
                    continue;
                }
                let keys = &self.ranking[group];
                let key = if down { keys[limits.full - before].0 } else { -keys[limits.full - next].0 };
                let candidate = (then.max(CLOSE), key, group, next);
                if best.is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                    best = Some(candidate);
                }
            }
            let Some((_, _, group, next)) = best else { return };
            kept[group] = next;
        }
    }
}
