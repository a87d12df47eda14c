//! Learning rates and momentum over a run, and the decay of the weights' moving average.

use std::f64::consts::PI;

use super::{
    optimizer::{OptimizerKind, Rates},
    options::{FitOptions, Schedule},
};

/// The rates of every step of a run.
#[derive(Clone, Debug)]
pub(super) struct LearningRates {
    schedule: Schedule,
    epochs: usize,
    lr: f64,
    lrf: f64,
    momentum: f64,
    warmup: f64,
    warmup_bias_lr: f64,
    warmup_momentum: f64,
}

impl LearningRates {
    /// Those of a run of `options.epochs` epochs of `batches` steps each. Warming up takes a quarter of the run at
    /// most.
    pub fn new(options: &FitOptions, batches: usize) -> Self {
        let asked = options.warmup_epochs * batches as f64;
        let momentum = f64::from(options.momentum);
        Self {
            schedule: options.schedule,
            epochs: options.epochs,
            lr: f64::from(options.lr),
            lrf: f64::from(options.lrf),
            momentum,
            warmup: asked.min((options.epochs * batches) as f64 / 4.0),
            warmup_bias_lr: match options.optimizer {
                OptimizerKind::Sgd => f64::from(options.warmup_bias_lr),
                OptimizerKind::AdamW => 0.0,
            },
            warmup_momentum: momentum.min(0.8),
        }
    }

    /// Rates of a step: `step` counts from the run's start, `epoch` is the one it belongs to, both from 0.
    pub fn at(&self, epoch: usize, step: usize) -> Rates {
        let share = epoch as f64 / self.epochs.max(1) as f64;
        let factor = match self.schedule {
            Schedule::Linear => (1.0 - share) * (1.0 - self.lrf) + self.lrf,
            Schedule::Cosine => (1.0 + (share * PI).cos()) / 2.0 * (1.0 - self.lrf) + self.lrf,
        };
        let lr = self.lr * factor;
        let step = step as f64;
        if step >= self.warmup {
            return Rates { lr: [lr as f32; 3], momentum: self.momentum as f32 };
        }
        let between = |from: f64, to: f64| (from + (to - from) * step / self.warmup) as f32;
        let rising = between(0.0, lr);
        Rates {
            lr: [between(self.warmup_bias_lr, lr), rising, rising],
            momentum: between(self.warmup_momentum, self.momentum),
        }
    }
}

/// Decay of the weights' moving average at each step: `limit` · (1 − e^(−step / `ramp`)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decay {
    limit: f64,
    ramp: f64,
}

impl Decay {
    /// YOLO's 0.9999 with a ramp of 2000 steps for long runs. In a short run that average would either never leave the
    /// start or, ramped, average nothing; so it spans a tenth of the run there, and the ramp is as long.
    pub fn new(steps: usize) -> Self {
        let span = (steps as f64 / 10.0).clamp(1.0, 10_000.0);
        Self { limit: 1.0 - 1.0 / span, ramp: span.min(2000.0) }
    }

    /// The decay of step `step`, counted from 1.
    pub fn at(&self, step: u64) -> f32 {
        (self.limit * (1.0 - (-(step as f64) / self.ramp).exp())) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_then_fall() {
        let options = FitOptions { epochs: 10, lr: 0.01, lrf: 0.1, warmup_epochs: 2.0, ..FitOptions::default() };
        let schedule = LearningRates::new(&options, 5);
        let first = schedule.at(0, 0);
        assert_eq!((first.lr, first.momentum), ([options.warmup_bias_lr, 0.0, 0.0], 0.8));
        let middle = schedule.at(0, 5);
        assert!((middle.lr[1] - 0.005).abs() < 1e-6 && (middle.momentum - (0.8 + options.momentum) / 2.0).abs() < 1e-6);
        let rates = schedule.at(5, 25);
        assert!((rates.lr[0] - 0.01 * 0.55).abs() < 1e-7 && rates.momentum == options.momentum);
        let cosine = LearningRates::new(&FitOptions { schedule: Schedule::Cosine, ..options }, 5);
        assert!((cosine.at(5, 25).lr[1] - 0.01 * 0.55).abs() < 1e-7);
        assert!((cosine.at(2, 12).lr[1] as f64 - 0.01 * (0.9 * (1.0 + (0.2 * PI).cos()) / 2.0 + 0.1)).abs() < 1e-8);
    }

    #[test]
    fn warm_up_leaves_most_of_a_short_run() {
        let options = FitOptions { epochs: 4, warmup_epochs: 3.0, ..FitOptions::default() };
        assert_eq!(LearningRates::new(&options, 10).warmup, 10.0);
    }

    #[test]
    fn the_average_spans_a_tenth_of_a_short_run_and_yolos_limit_in_a_long_one() {
        let short = Decay::new(400);
        assert!(short.at(1) < 0.03 && (short.at(400) - 0.975).abs() < 1e-3);
        let long = Decay::new(200_000);
        assert!((f64::from(long.at(3000)) - 0.9999 * (1.0 - (-1.5f64).exp())).abs() < 1e-6);
    }
}
