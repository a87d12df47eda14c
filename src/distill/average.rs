//! A student's own average as its teacher: the mean teacher of Tarvainen and Valpola 2017.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use crate::{
    exec::{Inference, Values},
    graph::NodeId,
    model::Model,
    train::{Hook, HookError, StepContext, Teacher, TermError},
};

/// The student with the average of its weights up to the present step.
pub(super) struct OwnAverage {
    taps: Vec<NodeId>,
    model: Mutex<Model>,
}

impl OwnAverage {
    /// Of a student that is about to be trained; the values of `taps` are kept.
    pub fn new(student: &Model, taps: &[NodeId]) -> Self {
        Self { taps: taps.to_vec(), model: Mutex::new(student.clone()) }
    }
}

impl Teacher for OwnAverage {
    fn values(&self, images: &Tensor) -> Result<Values, TermError> {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Inference::new(&model, &self.taps)?.run(images)?)
    }
}

/// Hands the average to the teacher before each step. It has no state: the average is the training's.
pub(super) struct Follow(pub Arc<OwnAverage>);

impl Hook for Follow {
    fn name(&self) -> &str {
        "distill_ema"
    }

    fn before_step(&mut self, step: &mut StepContext<'_>) -> Result<(), HookError> {
        *self.0.model.lock().unwrap_or_else(PoisonError::into_inner) = step.trainer.averaged()?;
        Ok(())
    }
}
