//! All that is needed to go on with a run exactly, in one file.

use std::{collections::HashMap, fs, io::Write, path::Path};

use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{Epoch, FitOptions, TrainError, trainer::Trainer};
use crate::{
    graph::Graph,
    io::atomic_write,
    model::{Detector, Provenance, Tensors},
};

/// Version of the layout; it grows when older programs can no longer go on with a run.
const VERSION: u32 = 1;
const KEY: &str = "espalier.checkpoint";
const MASK: &str = "mask.";

/// Where a run stands between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Epoch of the next step, from 0.
    pub epoch: usize,
    /// Batch of the next step in that epoch, from 0.
    pub batch: usize,
    /// Steps done.
    pub step: usize,
    /// Sums of the losses over the epoch's images so far.
    pub sums: Vec<f64>,
    /// The epoch's images so far.
    pub images: usize,
    /// Best fitness and its epoch, from 1.
    pub best: Option<(f64, usize)>,
    /// Rows of the complete epochs.
    pub history: Vec<Epoch>,
    /// Seconds of the sessions so far.
    pub seconds: f64,
}

/// What a checkpoint says beside its arrays.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    graph: Graph,
    detector: Detector,
    provenance: Provenance,
    options: FitOptions,
    parts: Vec<String>,
    extra: Vec<(String, Vec<usize>)>,
    optimizer_steps: u64,
    dataset: String,
    place: Place,
}

/// A checkpoint that was read.
pub(super) struct Checkpoint {
    pub graph: Graph,
    pub detector: Detector,
    pub provenance: Provenance,
    /// The run's options, masks included.
    pub options: FitOptions,
    pub parts: Vec<String>,
    pub extra: Vec<(String, Vec<usize>)>,
    pub dataset: String,
    pub place: Place,
    values: Vec<f32>,
    average: Option<Vec<f32>>,
    state: Vec<Vec<f32>>,
    optimizer_steps: u64,
}

/// Writes a checkpoint; the one before stays until it is complete.
pub(super) fn save(
    path: &Path,
    trainer: &Trainer,
    options: &FitOptions,
    parts: &[String],
    dataset: &str,
    place: &Place,
) -> Result<(), TrainError> {
    let model = trainer.model();
    let description = Description {
        version: VERSION,
        graph: model.graph().clone(),
        detector: model.detector().clone(),
        provenance: model.provenance().clone(),
        options: options.clone(),
        parts: parts.to_vec(),
        extra: trainer.extra().iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect(),
        optimizer_steps: trainer.optimizer.steps,
        dataset: dataset.into(),
        place: place.clone(),
    };
    let mut arrays: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, values: &[f32]| {
        arrays.push((name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    };
    add("values".into(), vec![trainer.values.len()], &trainer.values);
    if let Some(average) = &trainer.average {
        add("average".into(), vec![average.len()], average);
    }
    for (index, state) in trainer.optimizer.state.iter().enumerate() {
        add(format!("state.{index}"), vec![state.len()], state);
    }
    for (name, mask) in &options.masks {
        let values = mask.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        add(format!("{MASK}{name}"), mask.dims().to_vec(), &values);
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
    let bad = |reason: String| TrainError::Resume { path: path.into(), reason };
    let bytes = fs::read(path).map_err(|error| {
        bad(format!("cannot be read ({error}); resume takes the folder of a run, such as runs/fit"))
    })?;
    let broken = |error: safetensors::SafeTensorError| bad(format!("is no whole checkpoint ({error})"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let text = text.ok_or_else(|| bad("is no checkpoint of a run".into()))?;
    let version: serde_json::Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    match version["version"].as_u64() {
        Some(found) if found <= u64::from(VERSION) => {}
        found => return Err(bad(format!("has version {found:?}, and this program goes on from {VERSION} at most"))),
    }
    let description: Description =
        serde_json::from_value(version).map_err(|error| bad(format!("its description is broken: {error}")))?;
    let arrays = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let read = |name: &str| -> Result<Vec<f32>, TrainError> {
        let view = arrays.tensor(name).map_err(broken)?;
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("its array `{name}` has type {:?}, not F32", view.dtype())));
        }
        Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    let mut options = description.options;
    let mut state = Vec::new();
    for (name, view) in arrays.tensors() {
        if let Some(tensor) = name.strip_prefix(MASK) {
            options.masks.insert(tensor.into(), Tensor::from_vec(read(&name)?, view.shape(), &Device::Cpu)?);
        }
    }
    for index in 0.. {
        match arrays.names().iter().any(|name| **name == format!("state.{index}")) {
            true => state.push(read(&format!("state.{index}"))?),
            false => break,
        }
    }
    Ok(Checkpoint {
        graph: description.graph,
        detector: description.detector,
        provenance: description.provenance,
        parts: description.parts,
        extra: description.extra,
        dataset: description.dataset,
        place: description.place,
        values: read("values")?,
        average: if options.ema { Some(read("average")?) } else { None },
        state,
        optimizer_steps: description.optimizer_steps,
        options,
    })
}

impl Checkpoint {
    /// Puts weights, average and optimiser state into a trainer of the same model and objective.
    pub fn restore(self, path: &Path, trainer: &mut Trainer) -> Result<Place, TrainError> {
        let lengths = |values: &[f32], state: &[Vec<f32>], average: &Option<Vec<f32>>| {
            (values.len(), average.as_ref().map(Vec::len), state.iter().map(Vec::len).collect::<Vec<_>>())
        };
        let found = lengths(&self.values, &self.state, &self.average);
        let expected = lengths(&trainer.values, &trainer.optimizer.state, &trainer.average);
        if found != expected {
            let reason = format!("its arrays have lengths {found:?}, but the model needs {expected:?}");
            return Err(TrainError::Resume { path: path.into(), reason });
        }
        trainer.values = self.values;
        trainer.average = self.average;
        trainer.optimizer.state = self.state;
        trainer.optimizer.steps = self.optimizer_steps;
        trainer.refresh()?;
        Ok(self.place)
    }

    /// Names and shapes of an objective's tensors, as the checkpoint lists them.
    pub fn describe(extra: &Tensors) -> Vec<(String, Vec<usize>)> {
        extra.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect()
    }
}
