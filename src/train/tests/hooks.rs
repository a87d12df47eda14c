//! Hooks of the fit loop, and their state in checkpoints.

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::{StopAfter, dataset, quick, tiny, values};
use crate::{model::Tensors, progress::Silent, train::*};

const NAME: &str = "model.0.conv.weight";

/// Slows the rates down step by step, and pulls a weight by a growing amount: a number and a tensor to remember.
struct Pull {
    factor: f32,
    pull: Tensor,
    epochs: usize,
}

impl Pull {
    fn hooks(epochs: usize) -> Vec<Box<dyn Hook>> {
        vec![Box::new(Self { factor: 1.0, pull: Tensor::zeros((), DType::F32, &Device::Cpu).unwrap(), epochs })]
    }
}

impl Hook for Pull {
    fn name(&self) -> &str {
        "pull"
    }

    fn before_step(&mut self, step: &mut StepContext<'_>) -> Result<(), HookError> {
        self.factor *= 0.9;
        step.rates.lr = step.rates.lr.map(|lr| lr * self.factor);
        Ok(())
    }

    fn after_step(&mut self, step: &mut StepContext<'_>) -> Result<(), HookError> {
        self.pull = (&self.pull + 0.01)?;
        let weight = step.trainer.model().tensors()[NAME].broadcast_sub(&self.pull)?;
        Ok(step.trainer.overwrite(&Tensors::from([(NAME.to_string(), weight)]))?)
    }

    fn after_epoch(&mut self, epoch: &mut EpochContext<'_>) -> Result<Flow, HookError> {
        match epoch.row.epoch == self.epochs {
            true => Ok(Flow::Stop("pulled enough".into())),
            false => Ok(Flow::Continue),
        }
    }

    fn state(&self) -> Result<HookState, HookError> {
        let tensors = Tensors::from([("pull".to_string(), self.pull.clone())]);
        Ok(HookState { tensors, values: json!({ "factor": self.factor }) })
    }

    fn restore(&mut self, mut state: HookState) -> Result<(), HookError> {
        self.factor = serde_json::from_value(state.values["factor"].clone())?;
        self.pull = state.tensors.remove("pull").ok_or("no pull")?;
        Ok(())
    }
}

#[test]
fn a_resumed_run_has_the_hooks_states() {
    let (data, model) = (dataset(6), tiny("yolov8n"));
    let objective = Objective::detection(model.detector(), &loss::Gains::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = FitOptions { folder: Some(folder.path().join("run")), validate: false, ..quick() };
    let plain = FitOptions { folder: None, ..options.clone() };
    let whole = fit_with(&model, &data, &plain, &objective, &mut Pull::hooks(2), &Silent).unwrap();
    assert_eq!((whole.history.len(), whole.stopped), (2, false), "the hook ends it");
    let without = fit_with(&model, &data, &plain, &objective, &mut [], &Silent).unwrap();
    assert_eq!(without.history.len(), 3);
    assert_ne!(values(&whole.last), values(&without.last));

    let mut hooks = Pull::hooks(2);
    let stopped = fit_with(&model, &data, &options, &objective, &mut hooks, &StopAfter::steps(1)).unwrap();
    let resume = FitOptions { resume: stopped.folder, ..FitOptions::default() };
    let resumed = fit_with(&model, &data, &resume, &objective, &mut Pull::hooks(2), &Silent).unwrap();
    assert_eq!(values(&resumed.last), values(&whole.last));
    assert!(resumed.history[0].lr[1] < without.history[0].lr[1]);

    let error = fit_with(&model, &data, &resume, &objective, &mut [], &Silent).unwrap_err().to_string();
    assert!(error.contains("hooks learning_rates, pull, not learning_rates"), "{error}");
    let mut twice: Vec<Box<dyn Hook>> = [Pull::hooks(2), Pull::hooks(2)].into_iter().flatten().collect();
    let error = fit_with(&model, &data, &plain, &objective, &mut twice, &Silent).unwrap_err().to_string();
    assert!(error.contains("`pull`") && error.contains("two hooks"), "{error}");
}
