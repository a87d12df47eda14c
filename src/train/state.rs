//! Where a run stands between two steps.

use serde::{Deserialize, Serialize};

use super::{
    run::{Epoch, numbers},
    times::RunTimes,
};

/// Where a run stands between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RunState {
    /// Epoch of the next step, from 0.
    pub epoch: usize,
    /// Batch of the next step in that epoch, from 0.
    pub batch: usize,
    /// Steps done.
    pub step: usize,
    /// Learning rates of the last step.
    pub lr: [f32; 3],
    /// Sums of the losses over the epoch's images so far.
    #[serde(deserialize_with = "numbers")]
    pub sums: Vec<f64>,
    /// The epoch's images so far.
    pub images: usize,
    /// Best fitness and its epoch, from 1.
    pub best: Option<(f64, usize)>,
    /// Rows of the complete epochs.
    pub history: Vec<Epoch>,
    /// Seconds of the sessions so far.
    pub seconds: f64,
    /// Where they went.
    #[serde(default)]
    pub times: RunTimes,
}

impl RunState {
    /// Mean losses of the epoch so far.
    pub fn losses(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.images.max(1) as f64).collect()
    }

    /// Takes the fitness of an epoch; says whether it is the best so far. One that is not a number never is.
    pub fn is_best(&mut self, fitness: f64, epoch: usize) -> bool {
        let better = !fitness.is_nan() && self.best.is_none_or(|(best, _)| fitness > best);
        if better {
            self.best = Some((fitness, epoch));
        }
        better
    }

    /// Closes the epoch with its row.
    pub fn close_epoch(&mut self, row: Epoch) {
        (self.epoch, self.batch, self.images) = (row.epoch, 0, 0);
        self.sums.clear();
        self.history.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Validation;

    #[test]
    fn a_fitness_that_is_not_a_number_is_never_the_best() {
        let mut state = RunState::default();
        assert!(!state.is_best(f64::NAN, 1) && state.best.is_none());
        assert!(state.is_best(0.25, 2) && !state.is_best(f64::NAN, 3) && !state.is_best(0.25, 4));
        assert_eq!(state.best, Some((0.25, 2)));
    }

    /// JSON knows no such numbers, so that a checkpoint could not be read again.
    #[test]
    fn losses_that_are_not_numbers_survive_a_checkpoint() {
        let validation =
            Validation { precision: 0.5, recall: 0.5, map50: f64::NAN, map: 0.1, losses: vec![f64::NAN, 1.0] };
        let losses = vec![f64::INFINITY, 2.0];
        let row =
            Epoch { epoch: 1, seconds: 1.0, losses, validation: Some(validation), lr: [0.1; 3], figures: Vec::new() };
        let state = RunState { sums: vec![f64::NAN], history: vec![row], ..RunState::default() };
        let text = serde_json::to_string(&state).unwrap();
        let again: RunState = serde_json::from_str(&text).unwrap();
        let [row] = &again.history[..] else { panic!("{again:?}") };
        assert!(row.losses[0].is_nan() && row.losses[1] == 2.0 && again.sums[0].is_nan());
        let validation = row.validation.as_ref().unwrap();
        assert!(validation.map50.is_nan() && validation.map == 0.1 && validation.losses[0].is_nan());
    }
}
