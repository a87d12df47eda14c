//! The program's own file: safetensors, with the graph, the detector's facts and the provenance in the metadata.

use std::{collections::HashMap, fs, io::Write, path::Path};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    atomic::atomic_write,
    error::{IoError, NativeError},
};
use crate::{
    graph::Graph,
    model::{Detector, Model, ModelError, Provenance, Tensors},
    options::option_names,
};

/// Version of the file's layout. It grows when files are written that older programs cannot read.
const VERSION: u32 = 2;

/// Version of a file without masks, which is all that programs of version 1 can read.
const WITHOUT_MASKS: u32 = 1;

/// What the names of masks begin with; the name of the tensor that a mask is for follows. It is reserved: no layer is named so.
const MASK_PREFIX: &str = "espalier.mask:";

/// Names in the metadata.
const VERSION_KEY: &str = "espalier.format";
const MODEL_KEY: &str = "espalier.model";

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, exactly as in memory.
    #[default]
    Fp32,
    /// 16 bits, half the size; tensors with larger numbers than 16 bits hold keep 32.
    Fp16,
}
option_names!(Precision, "precision": Fp32 = "fp32", Fp16 = "fp16");

/// What the metadata says of the model, tensors apart.
#[derive(Serialize, Deserialize)]
struct Description {
    graph: Graph,
    detector: Detector,
    provenance: Provenance,
}

pub(super) fn load(path: &Path) -> Result<Model, NativeError> {
    parse(&fs::read(path)?)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Model, NativeError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().as_ref().ok_or(NativeError::NotOurs)?;
    let version = metadata.get(VERSION_KEY).ok_or(NativeError::NotOurs)?;
    match version.parse() {
        Ok(1..=VERSION) => {}
        Ok(found) if found > VERSION => return Err(NativeError::Newer { found, known: VERSION }),
        _ => return Err(NativeError::Description(format!("its format version is `{version}`"))),
    }
    let description = metadata.get(MODEL_KEY).ok_or(NativeError::NotOurs)?;
    let description: Description =
        serde_json::from_str(description).map_err(|error| NativeError::Description(error.to_string()))?;
    let (mut tensors, mut masks) = (Tensors::new(), Tensors::new());
    for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
        if view.shape().contains(&0) {
            return Err(NativeError::Empty { name, shape: view.shape().to_vec() });
        }
        if let (Some(masked), Dtype::U8) = (name.strip_prefix(MASK_PREFIX), view.dtype()) {
            let mask = Tensor::from_raw_buffer(view.data(), DType::U8, view.shape(), &Device::Cpu);
            masks.insert(masked.to_owned(), mask.map_err(ModelError::from)?);
            continue;
        }
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            found => return Err(NativeError::Type { name, found }),
        };
        let tensor =
            Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu).map_err(ModelError::from)?;
        tensors.insert(name, tensor);
    }
    let model = Model::new(description.graph, tensors, description.detector, description.provenance)?;
    Ok(if masks.is_empty() { model } else { model.with_masks(masks)? })
}

pub(super) fn save(model: &Model, path: &Path, precision: Precision) -> Result<(), IoError> {
    let failed = |error: String| IoError::Write { path: path.into(), source: std::io::Error::other(error) };
    let description = Description {
        graph: model.graph().clone(),
        detector: model.detector().clone(),
        provenance: model.provenance().clone(),
    };
    let description = serde_json::to_string(&description).map_err(|error| failed(error.to_string()))?;
    let version = if model.masks().is_empty() { WITHOUT_MASKS } else { VERSION };
    let metadata = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (VERSION_KEY.to_owned(), version.to_string()),
        (MODEL_KEY.to_owned(), description),
    ]);
    let mut tensors = Vec::with_capacity(model.tensors().len());
    for (name, tensor) in model.tensors() {
        tensors.push((name.clone(), Raw::new(tensor, precision).map_err(|error| failed(error.to_string()))?));
    }
    for (name, mask) in model.masks() {
        let raw = Raw::mask(mask).map_err(|error| failed(error.to_string()))?;
        tensors.push((format!("{MASK_PREFIX}{name}"), raw));
    }
    let mut bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| failed(error.to_string()))?;
    sort_metadata(&mut bytes).map_err(|error| failed(error.to_string()))?;
    atomic_write(path, |writer: &mut dyn Write| writer.write_all(&bytes))
}

/// Puts the metadata of a file in the order of its keys, so that the same model is always the same bytes: safetensors takes
/// them from a map in which the order is left to chance.
fn sort_metadata(file: &mut [u8]) -> serde_json::Result<()> {
    let Some((length, rest)) = file.split_first_chunk_mut::<8>() else { return Ok(()) };
    let header = &mut rest[..u64::from_le_bytes(*length) as usize];
    let mut entries: Map<String, Value> = serde_json::from_slice(header)?;
    if let Some(Value::Object(metadata)) = entries.get_mut("__metadata__") {
        metadata.sort_keys();
    }
    let sorted = serde_json::to_vec(&entries)?;
    // The header is filled up with spaces.
    header[..sorted.len()].copy_from_slice(&sorted);
    Ok(())
}

/// A tensor's bytes as they are written.
struct Raw {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Raw {
    fn new(tensor: &Tensor, precision: Precision) -> candle_core::Result<Self> {
        let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        // A running variance can be beyond what 16 bits hold; such a tensor stays as it is.
        let fits = values.iter().all(|value| !value.is_finite() || half::f16::from_f32(*value).is_finite());
        let (dtype, bytes) = match precision {
            Precision::Fp16 if fits => {
                let halves = values.into_iter().flat_map(|value| half::f16::from_f32(value).to_le_bytes());
                (Dtype::F16, halves.collect())
            }
            Precision::Fp16 | Precision::Fp32 => (Dtype::F32, values.into_iter().flat_map(f32::to_le_bytes).collect()),
        };
        Ok(Self { dtype, shape: tensor.dims().to_vec(), bytes })
    }

    /// A mask, a byte a weight whatever the precision.
    fn mask(mask: &Tensor) -> candle_core::Result<Self> {
        let bytes = mask.to_device(&Device::Cpu)?.to_dtype(DType::U8)?.flatten_all()?.to_vec1::<u8>()?;
        Ok(Self { dtype: Dtype::U8, shape: mask.dims().to_vec(), bytes })
    }
}

impl View for Raw {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
