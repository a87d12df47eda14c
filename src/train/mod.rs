//! Training detectors: losses, optimisers, schedules, checkpoints and the fit loop.

pub mod loss;
