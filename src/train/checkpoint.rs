//! All that is needed to resume a run exactly, in one file.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::Path,
};

use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    checkpoint_error::CheckpointError,
    error::TrainError,
    hook::{Hook, HookState},
    objective::Objective,
    options::FitOptions,
    parameters::Arrays,
    state::RunState,
    trainer::Trainer,
};
use crate::{
    graph::Graph,
    io::atomic_write,
    model::{Detector, Model, Provenance, Tensors, digest},
};

/// Version of the layout. Only runs of the same version are resumed: those of version 1 do not say what they minimise.
const VERSION: u32 = 2;
const KEY: &str = "espalier.checkpoint";
const HOOK: &str = "hook.";

/// What must be the same for a run to be resumed, beside the network and the options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The dataset's name.
    pub dataset: String,
    /// Digest of the model's masks.
    pub masks: String,
    /// What is minimised.
    pub terms: Vec<TermIdentity>,
    /// Names and shapes of the terms' own tensors.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// Names of the hooks.
    pub hooks: Vec<String>,
}

/// What a run says of a term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TermIdentity {
    pub parts: Vec<String>,
    pub settings: Value,
}

impl Identity {
    /// That of a run that is about to begin.
    pub fn new(
        model: &Model,
        dataset: &str,
        objective: &Objective,
        tensors: &Tensors,
        hooks: &[&dyn Hook],
    ) -> Result<Self, TrainError> {
        let term = |term: &std::sync::Arc<dyn super::term::Term>| {
            let (parts, settings) = (term.part_names(), term.settings());
            TermIdentity { parts, settings }
        };
        Ok(Self {
            dataset: dataset.into(),
            masks: digest(model.masks())?,
            terms: objective.terms().iter().map(term).collect(),
            tensors: tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect(),
            hooks: hooks.iter().map(|hook| hook.name().to_owned()).collect(),
        })
    }
}

/// What a checkpoint says beside its arrays.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    graph: Graph,
    detector: Detector,
    provenance: Provenance,
    options: FitOptions,
    identity: Identity,
    optimizer_steps: u64,
    state: RunState,
    /// What each hook keeps beside tensors, by its name.
    hooks: BTreeMap<String, Value>,
}

/// A checkpoint that was read.
pub(super) struct Checkpoint {
    pub graph: Graph,
    pub detector: Detector,
    pub provenance: Provenance,
    pub options: FitOptions,
    pub identity: Identity,
    state: RunState,
    hooks: BTreeMap<String, HookState>,
    arrays: Arrays<'static>,
}

/// Writes a checkpoint; the one before stays until it is complete.
pub(super) fn save(
    path: &Path,
    trainer: &Trainer,
    options: &FitOptions,
    identity: &Identity,
    state: &RunState,
    hooks: &[&dyn Hook],
) -> Result<(), TrainError> {
    let (model, kept) = (trainer.model(), trainer.arrays()?);
    let hooks = hooks.iter().map(|hook| {
        let name = hook.name().to_owned();
        let state = hook.state().map_err(|source| TrainError::Hook { hook: name.clone(), source })?;
        Ok((name, state.on_cpu()?))
    });
    let hooks = hooks.collect::<Result<BTreeMap<String, HookState>, TrainError>>()?;
    let description = Description {
        version: VERSION,
        graph: model.graph().clone(),
        detector: model.detector().clone(),
        provenance: model.provenance().clone(),
        options: options.clone(),
        identity: identity.clone(),
        optimizer_steps: kept.steps,
        state: state.clone(),
        hooks: hooks.iter().map(|(name, state)| (name.clone(), state.values.clone())).collect(),
    };
    let mut arrays: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, values: &[f32]| {
        arrays.push((name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    };
    add("values".into(), vec![kept.values.len()], &kept.values);
    if let Some(average) = &kept.average {
        add("average".into(), vec![average.len()], average);
    }
    for (index, state) in kept.state.iter().enumerate() {
        add(format!("state.{index}"), vec![state.len()], state);
    }
    for (hook, state) in &hooks {
        for (name, tensor) in &state.tensors {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            add(format!("{HOOK}{hook}/{name}"), tensor.dims().to_vec(), &values);
        }
    }
    let failed = |error: String| TrainError::Write { path: path.into(), source: std::io::Error::other(error) };
    let text = serde_json::to_string(&description).map_err(|error| failed(error.to_string()))?;
    let views = arrays
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| failed(error.to_string()))?;
    let metadata = HashMap::from([(KEY.to_string(), text)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| failed(error.to_string()))?;
    Ok(atomic_write(path, |writer: &mut dyn Write| writer.write_all(&bytes))?)
}

/// Reads a checkpoint.
pub(super) fn load(path: &Path) -> Result<Checkpoint, TrainError> {
    read(path).map_err(|source| TrainError::Checkpoint { path: path.into(), source })
}

fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let bytes = fs::read(path).map_err(CheckpointError::Read)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let description: Value = serde_json::from_str(text.ok_or(CheckpointError::NoDescription)?)?;
    let found = description["version"].as_u64();
    if found != Some(u64::from(VERSION)) {
        return Err(CheckpointError::Version { found, known: VERSION });
    }
    let description: Description = serde_json::from_value(description)?;
    let arrays = SafeTensors::deserialize(&bytes)?;
    let array = |name: &str| -> Result<Vec<f32>, CheckpointError> {
        let view = arrays.tensor(name)?;
        if view.dtype() != Dtype::F32 {
            return Err(CheckpointError::ArrayType { name: name.into(), found: format!("{:?}", view.dtype()) });
        }
        Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    let hook = |(hook, values): (String, Value)| {
        let (mut tensors, prefix) = (Tensors::new(), format!("{HOOK}{hook}/"));
        for (name, view) in arrays.tensors() {
            if let Some(tensor) = name.strip_prefix(&prefix) {
                let numbers = Tensor::from_vec(array(&name)?, view.shape(), &Device::Cpu);
                tensors.insert(tensor.into(), numbers.map_err(|_| SafeTensorError::TensorInvalidInfo)?);
            }
        }
        Ok((hook, HookState { tensors, values }))
    };
    let hooks = description.hooks.into_iter().map(hook).collect::<Result<_, CheckpointError>>()?;
    let names = (0..).map(|index| format!("state.{index}"));
    let names = names.take_while(|name| arrays.names().iter().any(|known| *known == name));
    let moments = names.map(|name| Ok(array(&name)?.into())).collect::<Result<_, CheckpointError>>()?;
    Ok(Checkpoint {
        graph: description.graph,
        detector: description.detector,
        provenance: description.provenance,
        identity: description.identity,
        state: description.state,
        hooks,
        arrays: Arrays {
            values: array("values")?.into(),
            average: if description.options.ema { Some(array("average")?.into()) } else { None },
            state: moments,
            steps: description.optimizer_steps,
        },
        options: description.options,
    })
}

impl Checkpoint {
    /// Whether some epoch was validated, so that the run's folder has a best model.
    pub fn has_best(&self) -> bool {
        self.state.best.is_some()
    }

    /// Puts weights, average and optimiser state into a trainer of the same model and objective, and each hook's state
    /// into the hook.
    pub fn restore<'a>(
        mut self,
        path: &Path,
        trainer: &mut Trainer,
        hooks: impl Iterator<Item = &'a mut (dyn Hook + 'static)>,
    ) -> Result<RunState, TrainError> {
        let (found, expected) = (self.arrays.lengths(), trainer.arrays()?.lengths());
        if found != expected {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            let source = CheckpointError::ArrayLengths { found, expected };
            return Err(TrainError::Checkpoint { path: path.into(), source });
        }
        trainer.restore(self.arrays)?;
        for hook in hooks {
            let name = hook.name().to_owned();
            let state = self.hooks.remove(&name).unwrap_or_default();
            hook.restore(state).map_err(|source| TrainError::Hook { hook: name, source })?;
        }
        Ok(self.state)
    }
}
