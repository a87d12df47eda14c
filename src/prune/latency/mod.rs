//! Plans by time: a share of the time of one image that stays.
//!
//! How long a network of certain widths takes is predicted from times of its nodes at several widths. The plan that the
//! prediction asks for is then applied and timed in turn with the whole network, and the aim corrected by what that shows.

mod profile;

use self::profile::Profile;
use super::{apply::apply, cost::CostModel, error::PruneError, groups::Groups, plan::Plan};
use crate::{
    eval::{BenchOptions, EvalError, noise, time_runs},
    exec::Inference,
    model::Model,
    progress::Progress,
};

/// How often the aim is corrected, at most.
const CORRECTIONS: usize = 3;

/// A timed share this near to the one asked for, relative to it, needs no correction.
const NEAR: f64 = 0.015;

/// Runs of the plan and the whole network, in turn.
const RUNS: usize = 61;

/// Predicts how long a network takes by how many coupled channels its groups keep.
#[derive(Clone, Debug)]
pub(super) struct Clock<'a> {
    model: &'a Model,
    costs: &'a CostModel,
    profile: Profile,
    size: usize,
}

impl<'a> Clock<'a> {
    /// Measures times by width, unless they are known from before.
    ///
    /// # Errors
    /// A model on another device than the CPU, a network that does not run at that size, or a listener that asks to stop.
    pub(super) fn new(
        model: &'a Model,
        groups: &Groups,
        costs: &'a CostModel,
        size: usize,
        progress: &dyn Progress,
    ) -> Result<Self, PruneError> {
        if !model.device().is_cpu() {
            return Err(PruneError::NoLayerTimes);
        }
        Ok(Self { model, costs, profile: Profile::of(model, groups, size, progress)?, size })
    }

    /// Seconds of one image, predicted.
    pub(super) fn seconds(&self, kept: &[usize]) -> f64 {
        self.profile.seconds(self.model.graph(), |value| self.costs.channels(value, kept))
    }

    /// Looks for the plan with which a share `asked` of the time of `whole` stays. `plan` gives the plan for a predicted
    /// share.
    ///
    /// # Errors
    /// Those of `plan` and [`apply`], or a listener that asks to stop.
    pub(super) fn plan(
        &self,
        asked: f64,
        whole: &Model,
        plan: impl Fn(f64) -> Result<Plan, PruneError>,
        progress: &dyn Progress,
    ) -> Result<Plan, PruneError> {
        let mut aim = asked;
        let mut best: Option<(f64, Plan)> = None;
        let mut tried: Vec<(f64, f64)> = Vec::new();
        for _ in 0..=CORRECTIONS {
            let found = plan(aim)?;
            let share = self.timed(whole, &apply(self.model, &found)?, progress)?;
            progress.note(&format!(
                "timed in turn with the whole model: {:.1} % of the time stays, {:.1} % asked for",
                100.0 * share,
                100.0 * asked
            ));
            let off = (share / asked - 1.0).abs();
            if best.as_ref().is_none_or(|(least, _)| off < *least) {
                best = Some((off, found));
            }
            if off <= NEAR {
                break;
            }
            tried.push((aim, share));
            aim = next_aim(&tried, asked);
        }
        best.map(|(_, plan)| plan).ok_or(PruneError::NoLayerTimes)
    }

    /// The share of the whole model's time that a part takes.
    fn timed(&self, whole: &Model, part: &Model, progress: &dyn Progress) -> Result<f64, PruneError> {
        let options = BenchOptions { size: self.size, batch: 1, runs: RUNS, warm_up: 3, ..BenchOptions::default() };
        let images = noise(whole, &options)?;
        let (whole, part) = (Inference::new(whole, &[])?, Inference::new(part, &[])?);
        let run = |network: &Inference| network.run(&images).map(|_| ()).map_err(EvalError::from);
        let timings = time_runs(options.warm_up, RUNS, progress, &mut [&mut || run(&whole), &mut || run(&part)])?;
        // What disturbs the machine only ever makes a run longer.
        Ok(timings[1].quantile(0.1) / timings[0].quantile(0.1))
    }
}

/// What to aim at after these aims gave these shares: between the nearest that gave too little and too much in a straight
/// line, or in proportion where all gave too little or too much. Where the last two lie on one side, the line is drawn to half
/// the distance of the other (the Illinois rule, Dowell and Jarratt 1971): times go in steps, and a straight line alone would
/// stay beside one.
fn next_aim(tried: &[(f64, f64)], asked: f64) -> f64 {
    let above = |(_, share): &&(f64, f64)| *share > asked;
    let nearest = |side: bool| {
        let side = tried.iter().filter(|point| above(point) == side);
        side.min_by(|a, b| (a.1 - asked).abs().total_cmp(&(b.1 - asked).abs()))
    };
    let [last, before] = [1, 2].map(|back| tried.len().checked_sub(back).map(|place| above(&&tried[place])));
    let far = |side: bool| if before.is_some() && last == before && last == Some(!side) { 0.5 } else { 1.0 };
    let aim = match (nearest(false), nearest(true)) {
        (Some((low, less)), Some((high, more))) => {
            let (less, more) = (far(false) * (asked - less), far(true) * (more - asked));
            low + (high - low) * less / (less + more)
        }
        (Some((aim, share)), None) | (None, Some((aim, share))) => aim * asked / share,
        (None, None) => asked,
    };
    aim.clamp(1e-3, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_close_in_on_what_was_asked_for() {
        // What is timed bends away from what is predicted.
        let timed = |aim: f64| if aim < 0.7 { 0.5 * aim } else { aim + 0.05 };
        for asked in [0.3, 0.8, 0.9] {
            let mut tried = Vec::new();
            for _ in 0..=CORRECTIONS {
                let aim = next_aim(&tried, asked);
                tried.push((aim, timed(aim)));
            }
            let off = tried.iter().map(|(_, share)| (share / asked - 1.0).abs()).fold(f64::MAX, f64::min);
            assert!(off < 0.01, "{asked}: {tried:?}");
        }
        assert!((next_aim(&[(0.5, 0.4), (0.7, 0.8)], 0.6) - 0.6).abs() < 1e-12);
        // The last two gave too much: nearer to what gave too little.
        assert!((next_aim(&[(0.5, 0.5), (0.8, 0.8), (0.7, 0.65)], 0.6) - 0.6).abs() < 1e-12);
        assert!((next_aim(&[(0.8, 0.7), (0.4, 0.4), (0.5, 0.55)], 0.6) - 0.65).abs() < 1e-12);
    }
}
