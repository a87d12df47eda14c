//! What gradual pruning can be asked for.

use crate::options::{option_names, options};

/// How what goes is spread over the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PruneSchedule {
    /// The same amount each step.
    Linear,
    /// Much at first and ever less: 1 − (1 − t)³ of it is gone at time t (Zhu and Gupta 2017).
    #[default]
    Cubic,
    /// The same share of what is left each step.
    Exponential,
}
option_names!(PruneSchedule, "schedule": Linear = "linear", Cubic = "cubic", Exponential = "exponential");

options! {
    /// How [`gradual`](super::gradual) prunes.
    #[serde(default, deny_unknown_fields)]
    pub struct GradualOptions {
        /// Steps, each of which scores anew, prunes and trains; with order "layers" so many runs of neighbouring groups.
        pub steps: usize = 5, 1..=1000;
        /// How what goes is spread over the steps; the learning rate always falls in a straight line.
        pub schedule: PruneSchedule = PruneSchedule::default();
        /// Epochs of training after each step.
        pub tune_epochs: usize = 2, 0..=100_000;
        /// Epochs of training in the end; 0 for none.
        pub epochs: usize = 20, 0..=100_000;
        /// Images on which the statistics of normalisations are measured anew before that; 0 for not at all.
        pub recalibrate: usize = 256, 0..=1_000_000;
        /// Largest drop of mAP50-95 below the unpruned model's that a step may leave behind; the steps end with the last
        /// that keeps to it.
        pub stop_at_drop: Option<f64> = None, 0.0..=1.0;
    }
}

impl PruneSchedule {
    /// Which share of what goes in the end is gone at time `t` from 0 to 1, where a share `stays` of the whole in the end.
    pub fn gone(self, t: f64, stays: f64) -> f64 {
        match self {
            _ if t >= 1.0 => 1.0,
            Self::Linear => t,
            Self::Cubic => 1.0 - (1.0 - t).powi(3),
            Self::Exponential if stays < 1.0 => (1.0 - stays.max(1e-6).powf(t)) / (1.0 - stays),
            Self::Exponential => t,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_begin_and_end_where_they_should() {
        for schedule in PruneSchedule::ALL {
            let gone: Vec<f64> = (0..=10).map(|step| schedule.gone(f64::from(step) / 10.0, 0.25)).collect();
            assert!(gone[0].abs() < 1e-12 && gone[10] == 1.0 && gone.is_sorted(), "{schedule}: {gone:?}");
        }
        assert!((PruneSchedule::Cubic.gone(0.5, 0.5) - 0.875).abs() < 1e-12);
        // Half of what is left goes in each of two steps.
        assert!((0.75 * PruneSchedule::Exponential.gone(0.5, 0.25) - 0.5).abs() < 1e-12);
    }
}
