//! Sparse training: a hook that lets a penalty act after each step of the optimiser.

use super::{
    hook::{Hook, HookError, HookState, StepContext},
    options::FitOptions,
    shrink::{DeviceRows, soft_threshold},
    sparsity::{RowSets, Sparsity},
};
use crate::{
    graph::Role,
    model::{Model, Statistics, Tensors},
};

/// Lets a penalty act after each step. Its strength rises in a straight line over the first `ramp` of the run.
#[derive(Debug)]
pub(super) struct SparseTraining {
    kind: Sparsity,
    strength: f64,
    ramp: f64,
    rows: Option<RowSets>,
    /// The same rows on the model's device, once they are needed.
    on_device: Option<DeviceRows>,
}

impl SparseTraining {
    /// That of the options, if they ask for one.
    pub fn of(options: &FitOptions) -> Option<Self> {
        options.sparsity.map(|kind| Self {
            kind,
            strength: f64::from(options.sparsity_strength.unwrap_or(kind.strength())),
            ramp: f64::from(options.sparsity_ramp),
            rows: options.rows.clone(),
            on_device: None,
        })
    }

    /// The strength of a step out of so many.
    fn strength_at(&self, step: usize, steps: usize) -> f64 {
        let ramp = self.ramp * steps as f64;
        self.strength * if ramp > 0.0 { ((step + 1) as f64 / ramp).min(1.0) } else { 1.0 }
    }

    /// The tensors of one role after a soft threshold.
    fn elementwise(model: &Model, role: Role, by: f64) -> candle_core::Result<Tensors> {
        let shrunk = |name: String| Ok((name.clone(), soft_threshold(&model.tensors()[&name], by)?));
        names(model, role).map(shrunk).collect()
    }

    fn told_rows(&self) -> Result<&RowSets, HookError> {
        let told = self.rows.as_ref();
        told.ok_or_else(|| format!("sparsity {} was not told which rows it penalises", self.kind).into())
    }

    fn rows(&mut self, model: &Model) -> Result<&DeviceRows, HookError> {
        let made = match self.on_device.take() {
            Some(known) => known,
            None => DeviceRows::new(self.told_rows()?, model.tensors(), &model.device())?,
        };
        Ok(self.on_device.insert(made))
    }

    /// All numbers that are penalised.
    fn penalised(&self, model: &Model) -> Result<Vec<f32>, HookError> {
        let mut found = Vec::new();
        let values = |name: &str| -> Result<Vec<f32>, HookError> {
            let tensor = model.tensors().get(name).ok_or_else(|| format!("there is no tensor `{name}`"))?;
            Ok(tensor.flatten_all()?.to_vec1()?)
        };
        let mut all_of = |role| -> Result<(), HookError> {
            for name in names(model, role) {
                found.extend(values(&name)?);
            }
            Ok(())
        };
        match self.kind {
            Sparsity::L1 => all_of(Role::Weight)?,
            Sparsity::Slimming => all_of(Role::NormScale)?,
            Sparsity::GroupLasso | Sparsity::Growing => {
                for (name, sets) in &self.told_rows()?.rows {
                    let values = values(name)?;
                    let each = (values.len() / sets.len().max(1)).max(1);
                    let inside = values.chunks_exact(each).zip(sets).filter(|(_, set)| set.is_some());
                    found.extend(inside.flat_map(|(row, _)| row));
                }
            }
        }
        Ok(found)
    }
}

fn names(model: &Model, role: Role) -> impl Iterator<Item = String> {
    model.graph().parameters().filter(move |(_, _, parameter)| parameter.role == role).map(|(_, name, _)| name)
}

impl Hook for SparseTraining {
    fn name(&self) -> &str {
        "sparsity"
    }

    fn after_step(&mut self, step: &mut StepContext<'_>) -> Result<(), HookError> {
        let [_, weights, scales] = step.rates.lr.map(f64::from);
        let strength = self.strength_at(step.step, step.steps);
        let model = step.trainer.model().clone();
        let shrunk = match self.kind {
            Sparsity::L1 => Self::elementwise(&model, Role::Weight, weights * strength)?,
            Sparsity::Slimming => Self::elementwise(&model, Role::NormScale, scales * strength)?,
            Sparsity::GroupLasso => self.rows(&model)?.group_soft_threshold(model.tensors(), weights * strength)?,
            Sparsity::Growing => self.rows(&model)?.decay(model.tensors(), weights * strength)?,
        };
        Ok(step.trainer.step_to(&shrunk)?)
    }

    fn figures(&self, model: &Model) -> Result<Vec<(String, f64)>, HookError> {
        let found = Statistics::of(&self.penalised(model)?);
        Ok(vec![("sparsity/zeros".into(), found.zeros), ("sparsity/magnitude".into(), found.abs_mean)])
    }

    /// The rows: a resumed run need not be told of them again.
    fn state(&self) -> Result<HookState, HookError> {
        Ok(HookState { values: serde_json::to_value(&self.rows)?, ..HookState::default() })
    }

    fn restore(&mut self, state: HookState) -> Result<(), HookError> {
        let stored: Option<RowSets> = serde_json::from_value::<Option<RowSets>>(state.values)?;
        if self.rows.is_some() && self.rows != stored {
            return Err("the run was begun with another plan or another model; give it that, or none".into());
        }
        self.rows = stored;
        self.on_device = None;
        Ok(())
    }
}
