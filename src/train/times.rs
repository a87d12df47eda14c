//! Where the time of a run goes.

use std::{ops::AddAssign, time::Instant};

use serde::{Deserialize, Serialize};

/// Seconds of a run, or of a step, by what they are spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunTimes {
    /// Waiting for images to be read and augmented; what is read while a step runs does not count.
    pub data: f64,
    /// The model's forward pass.
    pub forward: f64,
    /// The teachers' forward pass.
    pub teacher: f64,
    /// All terms of the loss, with their own gradients.
    pub loss: f64,
    /// The model's backward pass.
    pub backward: f64,
    /// Clipping, the optimiser, the average of the weights, and hooks.
    pub optimizer: f64,
    /// Validation after epochs.
    pub validation: f64,
    /// Writing weights, checkpoints and results.
    pub files: f64,
}

impl RunTimes {
    /// Each with its name, in the order of a step.
    pub fn parts(&self) -> [(&'static str, f64); 8] {
        let Self { data, forward, teacher, loss, backward, optimizer, validation, files } = *self;
        [
            ("data", data),
            ("forward", forward),
            ("teacher", teacher),
            ("loss", loss),
            ("backward", backward),
            ("optimizer", optimizer),
            ("validation", validation),
            ("files", files),
        ]
    }
}

impl AddAssign for RunTimes {
    fn add_assign(&mut self, other: Self) {
        self.data += other.data;
        self.forward += other.forward;
        self.teacher += other.teacher;
        self.loss += other.loss;
        self.backward += other.backward;
        self.optimizer += other.optimizer;
        self.validation += other.validation;
        self.files += other.files;
    }
}

/// Tells one thing's time after another's.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start or the last lap.
    pub fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.0).as_secs_f64();
        self.0 = now;
        seconds
    }
}
