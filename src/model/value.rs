//! A model as a value: cloning shares the tensors, and whatever changes it gives a new one.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{detector::Detector, error::ModelError};
use crate::{
    graph::{Cost, Graph},
    options::OptionError,
};

/// Tensors by their full name (`model.0.conv.weight`).
pub type Tensors = BTreeMap<String, Tensor>;

/// A detector as a value: cloning shares the tensors, and whatever changes a model returns a new one.
///
/// ```
/// let model = espalier::io::teacher()?; // or io::load("yolov8n.pt")?
/// let cost = model.cost(160)?;
/// println!("{}: {} parameters, {} MACs", model.provenance().name, cost.params, cost.macs);
/// let renamed = model.clone().with_name("mine");
/// assert_eq!(renamed.graph(), model.graph());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) graph: Arc<Graph>,
    pub(super) tensors: Tensors,
    pub(super) masks: Tensors,
    pub(super) detector: Detector,
    pub(super) provenance: Provenance,
}

/// Where a model comes from and what was done to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The architecture's or the file's name, such as `yolov5n`.
    pub name: String,
    /// The steps since, oldest first, a line each.
    pub history: Vec<String>,
    /// By name of a convolution that lost filters: which are left of those that it had in the model that was first pruned.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Kept>,
}

/// The filters that are left of a convolution, however often it was pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How many filters it had before.
    pub of: usize,
    /// Those left, by the index that they had then, ascending.
    pub filters: Vec<usize>,
}

impl Model {
    /// Puts a model together and checks that graph, tensors and facts fit. Tensors are converted to fp32.
    ///
    /// # Errors
    /// Names the first thing that does not fit.
    pub fn new(graph: Graph, tensors: Tensors, detector: Detector, provenance: Provenance) -> Result<Self, ModelError> {
        let to_f32 = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F32)?.contiguous()?));
        let tensors = tensors.into_iter().map(to_f32).collect::<Result<_, ModelError>>()?;
        let model = Self { graph: Arc::new(graph), tensors, masks: Tensors::new(), detector, provenance };
        model.validate()?;
        Ok(model)
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The network, to be kept beside the model without a copy.
    pub fn shared_graph(&self) -> Arc<Graph> {
        Arc::clone(&self.graph)
    }

    /// Every tensor that the graph's operations own, fp32, all on one device.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Classes, strides and how the outputs are read.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Where the model comes from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Checks that graph, tensors and facts fit together.
    fn validate(&self) -> Result<(), ModelError> {
        self.graph.validate()?;
        self.validate_tensors()?;
        self.detector.validate(&self.graph)
    }

    fn validate_tensors(&self) -> Result<(), ModelError> {
        let mut owned = 0;
        for (id, name, parameter) in self.graph.parameters() {
            let Some(tensor) = self.tensors.get(&name) else {
                let layer = self.graph.node(id).name.clone();
                return Err(ModelError::MissingTensor { name, layer, expected: parameter.shape });
            };
            if tensor.dims() != parameter.shape {
                let found = tensor.dims().to_vec();
                return Err(ModelError::WrongShape { name, found, expected: parameter.shape });
            }
            owned += 1;
        }
        if owned != self.tensors.len() {
            let names: std::collections::HashSet<String> = self.graph.parameters().map(|(_, name, _)| name).collect();
            if let Some(name) = self.tensors.keys().find(|name| !names.contains(*name)) {
                return Err(ModelError::StrayTensor { name: name.clone() });
            }
        }
        Ok(())
    }

    /// The device that the tensors are on.
    pub fn device(&self) -> Device {
        self.tensors.values().next().map_or(Device::Cpu, |tensor| tensor.device().clone())
    }

    /// The same model on another device.
    ///
    /// # Errors
    /// Where the device cannot take the tensors.
    pub fn to_device(&self, device: &Device) -> Result<Self, ModelError> {
        let moved = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(device)?));
        let tensors = self.tensors.iter().map(moved).collect::<Result<_, ModelError>>()?;
        let masks = self.masks.iter().map(moved).collect::<Result<_, ModelError>>()?;
        Ok(Self { tensors, masks, ..self.clone() })
    }

    /// The same network with other tensors of the same names and shapes. What the model's masks hold is zero in the result,
    /// whatever the tensors given have there.
    ///
    /// # Errors
    /// Names the first tensor that is missing, is too many, or has another shape.
    pub fn with_tensors(&self, tensors: Tensors) -> Result<Self, ModelError> {
        let model = Self { tensors, ..self.clone() };
        model.validate_tensors()?;
        let tensors = model.masked(model.tensors.clone())?;
        Ok(Self { tensors, ..model })
    }

    /// The same model under another name.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.provenance.name = name.into();
        self
    }

    /// The same model with one more line of history.
    pub fn with_step(mut self, step: impl Into<String>) -> Self {
        self.provenance.history.push(step.into());
        self
    }

    /// Parameters, and MACs for square images of `size` pixels.
    ///
    /// # Errors
    /// Where the network cannot run at that size.
    pub fn cost(&self, size: usize) -> Result<Cost, ModelError> {
        Ok(self.graph.total_cost([size, size])?)
    }

    /// The largest stride: image sizes must be multiples of it.
    pub fn max_stride(&self) -> usize {
        self.detector.strides.iter().copied().max().unwrap_or(1)
    }

    /// Checks that it can run on square images of `size` pixels.
    ///
    /// # Errors
    /// Names the nearest sizes.
    pub fn check_size(&self, size: usize) -> Result<(), OptionError> {
        let stride = self.max_stride();
        if size > 0 && size.is_multiple_of(stride) {
            return Ok(());
        }
        let below = size / stride * stride;
        let near = if below == 0 { stride.to_string() } else { format!("{below} or {}", below + stride) };
        let expected = format!("a multiple of the model's largest stride, {stride}, such as {near}");
        Err(OptionError::value("size", expected, size))
    }
}
