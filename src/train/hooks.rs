//! The hooks that options ask for.

use super::{
    hook::{EpochContext, Flow, Hook, HookError, StepContext},
    options::FitOptions,
    schedule::LearningRates,
    sparse::SparseTraining,
};

/// The hooks that the options ask for.
pub(super) fn of_options(options: &FitOptions, batches: usize) -> Vec<Box<dyn Hook>> {
    let mut hooks: Vec<Box<dyn Hook>> = vec![Box::new(LearningRates::new(options, batches))];
    if options.patience > 0 {
        hooks.push(Box::new(Patience { epochs: options.patience }));
    }
    if let Some(sparse) = SparseTraining::of(options) {
        hooks.push(Box::new(sparse));
    }
    hooks
}

impl Hook for LearningRates {
    fn name(&self) -> &str {
        "learning_rates"
    }

    fn before_step(&mut self, step: &mut StepContext<'_>) -> Result<(), HookError> {
        *step.rates = self.at(step.epoch, step.step);
        Ok(())
    }
}

/// Ends a run after some epochs without a better validation.
struct Patience {
    epochs: usize,
}

impl Hook for Patience {
    fn name(&self) -> &str {
        "patience"
    }

    fn after_epoch(&mut self, epoch: &mut EpochContext<'_>) -> Result<Flow, HookError> {
        match epoch.best {
            Some(best) if epoch.row.epoch - best >= self.epochs => {
                Ok(Flow::Stop(format!("no better validation for {} epochs: done", self.epochs)))
            }
            Some(_) | None => Ok(Flow::Continue),
        }
    }
}
