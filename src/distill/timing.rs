//! When in a run a term acts, and how strongly.

use std::sync::Arc;

use serde_json::Value;

use super::balance::Balance;
use crate::{
    graph::NodeId,
    model::Tensors,
    options::{OptionError, option_names, options},
    train::{LossGradients, Term, TermError, TermInput},
};

options! {
    /// When in a run a term acts.
    #[derive(Copy)]
    pub(super) struct Timing {
        /// Share of the run from which it acts.
        pub from: f64 = 0.0, 0.0..=1.0;
        /// Share of the run until which it acts.
        pub until: f64 = 1.0, 0.0..=1.0;
        /// Its strength from `from` to `until`: falling to nothing in a line or as a cosine, so that the labels have the last word,
        /// the same throughout, or rising over the first tenth.
        pub schedule: Strength = Strength::Linear;
    }
}

/// How a term's strength changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    Constant,
    Linear,
    Cosine,
    WarmUp,
}
option_names!(Strength, "schedule":
    Constant = "constant", Linear = "linear", Cosine = "cosine", WarmUp = "warm_up");

/// The share of a term's time over which [`Strength::WarmUp`] rises.
const WARM_UP: f64 = 0.1;

impl Timing {
    /// Checks that it acts at all.
    pub fn check_order(&self) -> Result<(), OptionError> {
        match self.from < self.until {
            true => Ok(()),
            false => {
                Err(OptionError::value("until", format!("a share above `from`, which is {}", self.from), self.until))
            }
        }
    }

    /// What its weight is multiplied by when this share of the run is done.
    pub fn strength(&self, progress: f64) -> f64 {
        if !(self.from..self.until).contains(&progress) {
            return 0.0;
        }
        let done = (progress - self.from) / (self.until - self.from);
        match self.schedule {
            Strength::Constant => 1.0,
            Strength::Linear => 1.0 - done,
            Strength::Cosine => (1.0 + (std::f64::consts::PI * done).cos()) / 2.0,
            // The first step has some already.
            Strength::WarmUp => ((done + 0.01) / WARM_UP).min(1.0),
        }
    }
}

/// A term that acts when its timing says, as strongly as its schedule and the balance say.
pub(super) struct Timed {
    pub term: Arc<dyn Term>,
    pub timing: Timing,
    /// With this term's place among the balanced ones.
    pub balance: Option<(Arc<Balance>, usize)>,
    /// All that decides it.
    pub settings: Value,
}

impl Term for Timed {
    fn part_names(&self) -> Vec<String> {
        self.term.part_names()
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn taps(&self) -> Vec<NodeId> {
        self.term.taps()
    }

    fn tensors(&self) -> Result<Tensors, TermError> {
        self.term.tensors()
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let strength = self.timing.strength(input.progress);
        if strength == 0.0 {
            return Ok(vec![0.0; self.term.part_names().len()]);
        }
        if strength == 1.0 && self.balance.is_none() {
            return self.term.compute(input, gradients);
        }
        let mut own = LossGradients::none(input.values.outputs.len());
        let mut parts = self.term.compute(input, &mut own)?;
        let balanced = match &self.balance {
            Some((balance, place)) => balance.factor(*place, parts.iter().sum()),
            None => 1.0,
        };
        parts.iter_mut().for_each(|part| *part *= strength * balanced);
        gradients.add_scaled(own, strength * balanced)?;
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_those_of_their_schedules() {
        let at = |schedule, progress| Timing { from: 0.2, until: 0.8, schedule }.strength(progress);
        for schedule in Strength::ALL {
            assert_eq!([at(schedule, 0.0), at(schedule, 0.19), at(schedule, 0.8), at(schedule, 0.99)], [0.0; 4]);
        }
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        near(at(Strength::Constant, 0.5), 1.0);
        near(at(Strength::Linear, 0.35), 0.75);
        near(at(Strength::Cosine, 0.5), 0.5);
        near(at(Strength::Cosine, 0.35), (1.0 + 0.5f64.sqrt()) / 2.0);
        near(at(Strength::WarmUp, 0.2), 0.1);
        near(at(Strength::WarmUp, 0.5), 1.0);
        assert!(Timing { from: 0.5, until: 0.5, ..Timing::default() }.check_order().is_err());
    }
}
