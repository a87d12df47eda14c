//! What the fit loop calls beside its own work.

use candle_core::DType;
use serde_json::Value;

use super::{optimizer::Rates, run::Epoch, trainer::Trainer};
use crate::{
    exec::transfer,
    model::{Model, Tensors},
};

/// Any error of a hook.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// Something that acts while a model is trained: a schedule, a growing penalty, an averaged teacher, soft pruning.
///
/// What a hook has to remember is its [state](Hook::state), which is kept in checkpoints, so that a resumed run is the
/// same as one that was never interrupted.
pub trait Hook: Send {
    /// The name of its state in checkpoints; no two hooks of a run share one.
    fn name(&self) -> &str;

    /// Called before each step, and may change the rates of the step and the parameters.
    ///
    /// # Errors
    /// Any; the run ends.
    fn before_step(&mut self, _step: &mut StepContext<'_>) -> Result<(), HookError> {
        Ok(())
    }

    /// Called after the optimiser has moved the parameters.
    ///
    /// # Errors
    /// Any; the run ends.
    fn after_step(&mut self, _step: &mut StepContext<'_>) -> Result<(), HookError> {
        Ok(())
    }

    /// Called after an epoch and its validation; says whether the run goes on.
    ///
    /// # Errors
    /// Any; the run ends.
    fn after_epoch(&mut self, _epoch: &mut EpochContext<'_>) -> Result<Flow, HookError> {
        Ok(Flow::Continue)
    }

    /// What it has to say of a model after an epoch, by name: columns of `results.csv`. The names are the same after every
    /// epoch.
    ///
    /// # Errors
    /// Any; the run ends.
    fn figures(&self, _model: &Model) -> Result<Vec<(String, f64)>, HookError> {
        Ok(Vec::new())
    }

    /// What it must have again to act as if the run had not been interrupted.
    ///
    /// # Errors
    /// Any; the checkpoint is not written.
    fn state(&self) -> Result<HookState, HookError> {
        Ok(HookState::default())
    }

    /// Takes back what [`Hook::state`] gave.
    ///
    /// # Errors
    /// Where that is not of this hook.
    fn restore(&mut self, _state: HookState) -> Result<(), HookError> {
        Ok(())
    }
}

/// A step as a hook sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct StepContext<'a> {
    /// The epoch it belongs to, from 0.
    pub epoch: usize,
    /// Steps of the run before it.
    pub step: usize,
    /// Steps that the run has in all.
    pub steps: usize,
    /// Its learning rates and momentum.
    pub rates: &'a mut Rates,
    /// Model and parameters.
    pub trainer: &'a mut Trainer,
}

/// A finished epoch as a hook sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct EpochContext<'a> {
    /// Its row of the history.
    pub row: &'a Epoch,
    /// The epoch of the best validation so far, from 1.
    pub best: Option<usize>,
    /// Lines for the user, below that of the epoch.
    pub notes: Vec<String>,
    /// Model and parameters.
    pub trainer: &'a mut Trainer,
}

/// Whether a run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It is done, for this reason.
    Stop(String),
}

/// A hook's state: tensors (kept as fp32) and plain values.
#[derive(Clone, Debug, Default)]
pub struct HookState {
    /// By name.
    pub tensors: Tensors,
    /// Whatever JSON can say.
    pub values: Value,
}

impl HookState {
    /// With the tensors as a checkpoint keeps them.
    pub(super) fn on_cpu(self) -> candle_core::Result<Self> {
        let tensors = self.tensors.values().map(|tensor| tensor.to_dtype(DType::F32));
        let down = transfer::down(&tensors.collect::<candle_core::Result<Vec<_>>>()?)?;
        Ok(Self { tensors: self.tensors.into_keys().zip(down).collect(), ..self })
    }
}
