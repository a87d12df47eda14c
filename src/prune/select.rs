//! How many coupled channels every group keeps, so that the amount asked for is met.
//!
//! All coupled channels are put in one order, least important first. What goes is a beginning of that order, within each group's
//! limits and rounded; its length is found by bisection over exact costs. Single steps of groups then close the gap
//! that whole channels leave.

use super::{
    cost::CostModel,
    error::PruneError,
    groups::{GroupId, Groups},
    latency::Clock,
    layers::by_group,
    options::{Amount, PruneOptions},
};
use crate::graph::Graph;

/// A gap to the target, as a share of the whole, that is not worth closing.
const CLOSE: f64 = 5e-4;
/// A gap that is an error: the steps are too coarse for the target.
const TOO_FAR: f64 = 0.05;

/// What a group may keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// At least so many coupled channels.
    least: usize,
    /// At most so many.
    most: usize,
    /// It has so many.
    full: usize,
    round_to: usize,
}

impl Limits {
    /// What every group may keep by the options.
    ///
    /// # Errors
    /// A pattern that cannot be read, fits nothing, or is at odds with another.
    pub(super) fn of(
        options: &PruneOptions,
        graph: &Graph,
        groups: &Groups,
        ignored: &[bool],
    ) -> Result<Vec<Self>, PruneError> {
        let ratios = by_group("ratios", &options.ratios, graph, groups)?;
        let fewest = by_group("min_channels", options.min_channels.patterns(), graph, groups)?;
        let largest = by_group("max_ratio", options.max_ratio.patterns(), graph, groups)?;
        let default = PruneOptions::default();
        let (every, all) = (default.min_channels.every().copied(), default.max_ratio.every().copied());
        let round_to = options.round_to;
        let limits = groups.all().iter().enumerate().map(|(id, group)| {
            let full = group.coupled.len();
            let between = |least, most| Self { least, most, full, round_to };
            let multiple = |kept: usize| between(1, full).rounded_up(kept);
            match ratios[id] {
                _ if ignored[id] => between(full, full),
                Some(ratio) => {
                    let kept = (full as f64 * (1.0 - ratio)).round() as usize;
                    let kept = if ratio == 0.0 { full } else { between(multiple(1), full).rounded(kept) };
                    between(kept, kept)
                }
                None if options.amount == Amount::Ratios => between(full, full),
                None => {
                    let goes = full as f64 * largest[id].or(all).unwrap_or(1.0);
                    let least = (full - (goes + 1e-9).floor() as usize).max(fewest[id].or(every).unwrap_or(1));
                    between(multiple(least), full)
                }
            }
        });
        Ok(limits.collect())
    }

    /// The same of a group that has `now` coupled channels left and has lost a share `gone` of what it will: layers that lose
    /// a share of their own have lost so much of it.
    pub(super) fn later(self, now: usize, gone: f64) -> Self {
        let fixed = self.least == self.most;
        let so_far = self.full as f64 - gone * (self.full - self.least) as f64;
        let least = if fixed { self.rounded_up(so_far.round() as usize) } else { self.least }.min(now);
        let most = if fixed { least } else { now };
        Self { least, most, full: now, ..self }
    }

    /// What keeps exactly `kept` of `now` coupled channels.
    pub(super) fn exactly(kept: usize, now: usize) -> Self {
        Self { least: kept.min(now), most: kept.min(now), full: now, round_to: 1 }
    }

    fn rounded_up(self, kept: usize) -> usize {
        (kept.div_ceil(self.round_to) * self.round_to).min(self.full)
    }

    /// The allowed multiple nearest to `kept`.
    fn rounded(self, kept: usize) -> usize {
        ((kept + self.round_to / 2) / self.round_to * self.round_to).clamp(self.least, self.most)
    }

    /// The allowed count nearest to `kept`.
    fn nearest(self, kept: usize) -> usize {
        if kept == self.full { self.most } else { self.rounded(kept) }
    }

    /// The allowed count before or after `kept`.
    fn step(self, kept: usize, down: bool) -> Option<usize> {
        let next = if down {
            (kept.checked_sub(1)? / self.round_to * self.round_to).max(self.least)
        } else {
            ((kept / self.round_to + 1) * self.round_to).min(self.most)
        };
        (next != kept && (self.least..=self.most).contains(&next)).then_some(next)
    }
}

/// How much of something there is when every group keeps so many coupled channels.
type Measure<'a> = Box<dyn Fn(&[usize]) -> f64 + 'a>;

/// What is to be reached.
pub(super) struct Target<'a> {
    /// What is counted, such as MACs.
    what: &'static str,
    /// The share of it that stays.
    share: f64,
    /// How much of it there is when every group keeps so many coupled channels.
    measure: Measure<'a>,
    /// How much there is before anything goes.
    whole: f64,
}

impl<'a> Target<'a> {
    /// What an amount asks for; nothing, where it names single layers alone. A share of the time needs a clock.
    ///
    /// # Errors
    /// A share of the time without a clock.
    pub(super) fn of(
        amount: Amount,
        costs: &'a CostModel,
        clock: Option<&'a Clock<'a>>,
        groups: &Groups,
        ignored: &'a [bool],
    ) -> Result<Option<Self>, PruneError> {
        let full: Vec<usize> = groups.all().iter().map(|group| group.coupled.len()).collect();
        let open = move |kept: &[usize]| -> f64 {
            kept.iter().zip(ignored).filter(|(_, ignored)| !**ignored).map(|(&kept, _)| kept as f64).sum()
        };
        let (what, share, measure): (_, _, Measure<'a>) = match amount {
            Amount::Ratio(ratio) => ("prunable channels", 1.0 - ratio, Box::new(open)),
            Amount::Macs(share) => ("MACs", share, Box::new(|kept| costs.cost(kept).macs as f64)),
            Amount::Params(share) => ("parameters", share, Box::new(|kept| costs.cost(kept).params as f64)),
            Amount::Latency(share) => {
                let clock = clock.ok_or(PruneError::NoLayerTimes)?;
                ("time", share, Box::new(|kept| clock.seconds(kept)))
            }
            Amount::Ratios => return Ok(None),
        };
        let whole = measure(&full).max(f64::MIN_POSITIVE);
        Ok(Some(Self { what, share, measure, whole }))
    }

    /// How much there is before anything goes.
    pub(super) fn whole(&self) -> f64 {
        self.whole
    }

    /// The same share of another whole.
    pub(super) fn of_whole(self, whole: f64) -> Self {
        Self { whole, ..self }
    }

    /// What a channel of each group saves, on the way from all of its channels to half of them.
    pub(super) fn saved(&self, groups: &Groups) -> Vec<f64> {
        let mut kept: Vec<usize> = groups.all().iter().map(|group| group.coupled.len()).collect();
        let all = (self.measure)(&kept);
        let saves = |group: usize| {
            let full = kept[group];
            kept[group] = full / 2;
            let saved = (all - (self.measure)(&kept)) / (full - full / 2) as f64;
            kept[group] = full;
            saved
        };
        (0..groups.all().len()).map(saves).collect()
    }

    /// By how large a share of the whole more stays than should.
    fn gap(&self, kept: &[usize]) -> f64 {
        (self.measure)(kept) / self.whole - self.share
    }
}

/// How many coupled channels every group keeps. `ranking` holds every group's keys in ascending order.
///
/// # Errors
/// Where the target is beyond what the limits allow, or lies between two steps that are far apart.
pub(super) fn select(
    limits: &[Limits],
    ranking: &[Vec<(f64, usize)>],
    target: Option<&Target>,
) -> Result<Vec<usize>, PruneError> {
    let most: Vec<usize> = limits.iter().map(|limits| limits.most).collect();
    let Some(target) = target else { return Ok(most) };
    let least: Vec<usize> = limits.iter().map(|limits| limits.least).collect();
    let (what, asked) = (target.what, 100.0 * target.share);
    let percent = |kept: &[usize]| asked + 100.0 * target.gap(kept);
    if target.gap(&least) > CLOSE {
        return Err(PruneError::Unreachable { what, asked, least: percent(&least) });
    }
    if target.gap(&most) < -CLOSE {
        return Err(PruneError::Overshot { what, asked, most: percent(&most) });
    }
    let gap = |kept: &[usize]| target.gap(kept);
    let search = Search { ranking, limits };
    let mut kept = search.bisect(&gap);
    search.close_gap(&mut kept, &gap);
    if gap(&kept).abs() > TOO_FAR {
        return Err(PruneError::TooCoarse { what, asked, nearest: percent(&kept) });
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
