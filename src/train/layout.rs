//! Every trained tensor and running average of a model as one flat array, so that a step touches memory once.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::{
    graph::Role,
    model::{Model, Tensors},
};

/// How many groups the optimiser tells apart.
pub(super) const GROUPS: usize = 3;

/// The optimiser's groups, in the order that YOLO's trainers number them (`lr/pg0` and so on in `results.csv`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Biases and normalisation shifts: no decay, and a learning rate of their own while warming up.
    Biases,
    /// Convolution weights and an objective's own tensors: with decay.
    Weights,
    /// Normalisation scales: no decay.
    Scales,
}

/// Where each tensor lies in the flat array: the groups one after another, then what is not trained.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    entries: Vec<Entry>,
    ends: [usize; GROUPS],
    len: usize,
    device: Device,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    place: Range<usize>,
    /// Whether it belongs to the objective, not to the model.
    extra: bool,
}

impl Layout {
    /// Lays out a model's tensors and an objective's own (`extra`), by group and then by name.
    pub fn new(model: &Model, extra: &Tensors) -> Self {
        let group = |role: Role| match role {
            Role::Bias | Role::NormShift => Group::Biases as usize,
            Role::Weight => Group::Weights as usize,
            Role::NormScale => Group::Scales as usize,
            Role::RunningMean | Role::RunningVar => GROUPS,
        };
        let mut tensors: Vec<(usize, String, Vec<usize>, bool)> = model
            .graph()
            .parameters()
            .map(|(_, name, parameter)| (group(parameter.role), name, parameter.shape, false))
            .chain(
                extra
                    .iter()
                    .map(|(name, tensor)| (Group::Weights as usize, name.clone(), tensor.dims().to_vec(), true)),
            )
            .collect();
        tensors.sort();
        let (mut entries, mut ends, mut len) = (Vec::with_capacity(tensors.len()), [0; GROUPS], 0);
        for (group, name, shape, extra) in tensors {
            let start = len;
            len += shape.iter().product::<usize>();
            ends.iter_mut().skip(group).for_each(|end| *end = len);
            entries.push(Entry { name, shape, place: start..len, extra });
        }
        Self { entries, ends, len, device: model.device() }
    }

    /// Numbers of the whole array.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Numbers that are trained; they come first.
    pub fn trained(&self) -> usize {
        self.ends[GROUPS - 1]
    }

    /// Each group's part of the array.
    pub fn groups(&self) -> [Range<usize>; GROUPS] {
        [0..self.ends[0], self.ends[0]..self.ends[1], self.ends[1]..self.ends[2]]
    }

    /// Writes tensors into the array, or adds them to it; what is absent from `tensors` stays.
    pub fn gather<'a>(
        &self,
        find: impl Fn(&str) -> Option<&'a Tensor> + Sync,
        into: &mut [f32],
        add: bool,
    ) -> Result<()> {
        let mut parts = Vec::with_capacity(self.entries.len());
        let mut rest = into;
        for entry in &self.entries {
            let (part, after) = rest.split_at_mut(entry.place.len().min(rest.len()));
            parts.push((entry, part));
            rest = after;
        }
        parts.into_par_iter().try_for_each(|(entry, part)| {
            let Some(tensor) = find(&entry.name) else { return Ok(()) };
            if tensor.elem_count() != part.len() {
                candle_core::bail!("`{}` is {:?}, but {:?} was expected", entry.name, tensor.dims(), entry.shape);
            }
            copy(tensor, part, add)
        })
    }

    /// The array's tensors, copied out of it: the model's, and the objective's.
    pub fn scatter(&self, values: &[f32]) -> Result<(Tensors, Tensors)> {
        self.split(|entry| Tensor::from_slice(&values[entry.place.clone()], entry.shape.as_slice(), &self.device))
    }

    /// The tensors of an array on the device, as views of it: the model's, and the objective's.
    pub fn views(&self, array: &Tensor) -> Result<(Tensors, Tensors)> {
        self.split(|entry| array.narrow(0, entry.place.start, entry.place.len())?.reshape(entry.shape.as_slice()))
    }

    fn split(&self, make: impl Fn(&Entry) -> Result<Tensor>) -> Result<(Tensors, Tensors)> {
        let (mut own, mut extra) = (Tensors::new(), Tensors::new());
        for entry in &self.entries {
            let into = if entry.extra { &mut extra } else { &mut own };
            into.insert(entry.name.clone(), make(entry)?);
        }
        Ok((own, extra))
    }

    /// The tensors of one part of the array, one after another and each of one dimension: those that `find` gives, or
    /// else what `otherwise` has there.
    pub fn pieces(
        &self,
        part: Range<usize>,
        find: impl Fn(&str) -> Result<Option<Tensor>>,
        otherwise: impl Fn(Range<usize>) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let inside = self.entries.iter().filter(|entry| part.start <= entry.place.start && entry.place.end <= part.end);
        let piece = |entry: &Entry| match find(&entry.name)? {
            Some(tensor) if tensor.dims() == entry.shape => tensor.flatten_all(),
            Some(tensor) => {
                candle_core::bail!("`{}` is {:?}, but {:?} was expected", entry.name, tensor.dims(), entry.shape)
            }
            None => otherwise(entry.place.clone()),
        };
        inside.map(piece).collect()
    }

    /// The device of the model.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Where a tensor lies.
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.place.clone())
    }

    /// Whether the array has a trained tensor of this name and shape.
    pub fn has_trained(&self, name: &str, shape: &[usize]) -> bool {
        let trained = self.trained();
        self.entries.iter().any(|entry| entry.name == name && entry.shape == shape && entry.place.end <= trained)
    }
}

fn copy(tensor: &Tensor, part: &mut [f32], add: bool) -> Result<()> {
    let tensor = tensor.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (candle_core::Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a contiguous tensor on the CPU was expected");
    };
    let values = &storage.as_slice::<f32>()?[start..end];
    match add {
        false => part.copy_from_slice(values),
        true => part.iter_mut().zip(values).for_each(|(slot, value)| *slot += value),
    }
    Ok(())
}
