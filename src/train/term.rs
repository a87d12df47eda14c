//! One summand of what training minimises.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    sync::Arc,
    time::Instant,
};

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use crate::{
    data::Target,
    exec::{Inference, ValueGradients, Values, numbers, transfer},
    graph::NodeId,
    model::{Model, Tensors},
};

/// Any error of a term.
pub type TermError = Box<dyn std::error::Error + Send + Sync>;

/// One summand of what training minimises: a detection loss, a distillation loss, a penalty.
///
/// A term may have tensors of its own that are trained along (adapters). The training loop keeps them, so that they are
/// in the checkpoints; a term itself holds nothing that changes over a run. Terms written in candle's operations are
/// made by [`Autograd`](super::Autograd).
pub trait Term: Send + Sync {
    /// Names of its parts, in the order that [`Term::compute`] gives them; columns of `results.csv`.
    fn part_names(&self) -> Vec<String>;

    /// All that decides what it computes, beside the model and the data: weights, temperatures, a digest of the
    /// teacher. A run is resumed only with terms that say the same.
    fn settings(&self) -> Value;

    /// The student's nodes whose outputs it wants to see.
    fn taps(&self) -> Vec<NodeId> {
        Vec::new()
    }

    /// Its own tensors at the start, by names that neither the model nor another term uses.
    ///
    /// # Errors
    /// Any; the run does not begin.
    fn tensors(&self) -> std::result::Result<Tensors, TermError> {
        Ok(Tensors::new())
    }

    /// Computes its parts for one batch: weighted, for a mean image. The gradients of their sum times the number of
    /// images (what YOLO's trainers minimise) are added to `gradients`.
    ///
    /// # Errors
    /// Any; the loop passes it on.
    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients)
    -> std::result::Result<Vec<f64>, TermError>;
}

/// What looks at a batch's images beside the model in training: a teacher, or several as one.
pub trait Teacher: Send + Sync {
    /// What it gives for images (n, 3, h, w) in [0, 1].
    ///
    /// # Errors
    /// Where it cannot be run.
    fn values(&self, images: &Tensor) -> std::result::Result<Values, TermError>;
}

impl Teacher for Inference {
    fn values(&self, images: &Tensor) -> std::result::Result<Values, TermError> {
        Ok(self.run(images)?)
    }
}

/// One batch as a term sees it.
#[non_exhaustive]
pub struct TermInput<'a> {
    /// The images (n, 3, size, size) in [0, 1], on the student's device.
    pub images: &'a Tensor,
    /// The boxes in them.
    pub targets: &'a [Target],
    /// The model in training: its graph, and its tensors before this step.
    pub student: &'a Model,
    /// What the student gave for the images: outputs, and the taps asked for.
    pub values: &'a Values,
    /// The terms' own tensors as they are now.
    pub tensors: &'a Tensors,
    /// The share of the run that is done, from 0 to below 1.
    pub progress: f64,
    on_cpu: OnCpu,
    others: RefCell<Vec<(Arc<dyn Teacher>, Other)>>,
    seconds_of_others: Cell<f64>,
}

/// What some term has asked for on the CPU; copied once, for all terms.
#[derive(Debug, Default)]
struct OnCpu {
    outputs: OnceCell<Vec<Tensor>>,
    taps: OnceCell<BTreeMap<NodeId, Tensor>>,
    tensors: OnceCell<Tensors>,
}

/// What another model gives for the images, on its device and, once some term has asked for it, on the CPU.
struct Other {
    values: Arc<Values>,
    on_cpu: Option<Arc<Values>>,
}

impl<'a> TermInput<'a> {
    /// Puts together what the terms will see.
    pub fn new(
        images: &'a Tensor,
        targets: &'a [Target],
        student: &'a Model,
        values: &'a Values,
        tensors: &'a Tensors,
        progress: f64,
    ) -> Self {
        let (on_cpu, others, seconds_of_others) = Default::default();
        Self { images, targets, student, values, tensors, progress, on_cpu, others, seconds_of_others }
    }

    /// Images of the batch.
    pub fn batch(&self) -> usize {
        self.images.dims().first().copied().unwrap_or(0)
    }

    /// The student's outputs on the CPU, contiguous.
    ///
    /// # Errors
    /// Where they cannot be moved.
    pub fn outputs_on_cpu(&self) -> Result<&[Tensor]> {
        Ok(get_or_try(&self.on_cpu.outputs, || transfer::down(&self.values.outputs))?)
    }

    /// The values of all taps on the CPU, contiguous.
    ///
    /// # Errors
    /// Where they cannot be moved.
    pub fn taps_on_cpu(&self) -> Result<&BTreeMap<NodeId, Tensor>> {
        get_or_try(&self.on_cpu.taps, || down_map(&self.values.taps))
    }

    /// The terms' own tensors on the CPU, contiguous.
    ///
    /// # Errors
    /// Where they cannot be moved.
    pub fn tensors_on_cpu(&self) -> Result<&Tensors> {
        get_or_try(&self.on_cpu.tensors, || down_map(self.tensors))
    }

    /// What another model (a teacher) gives for the images. It is run once, however many terms ask for it.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn run(&self, other: &Arc<dyn Teacher>) -> std::result::Result<Arc<Values>, TermError> {
        if let Some((_, found)) = self.others.borrow().iter().find(|(known, _)| Arc::ptr_eq(known, other)) {
            return Ok(Arc::clone(&found.values));
        }
        let began = Instant::now();
        let values = Arc::new(other.values(self.images)?);
        self.seconds_of_others.update(|before| before + began.elapsed().as_secs_f64());
        let found = Other { values: Arc::clone(&values), on_cpu: None };
        self.others.borrow_mut().push((Arc::clone(other), found));
        Ok(values)
    }

    /// Seconds that other models have run for this batch.
    pub(super) fn seconds_of_others(&self) -> f64 {
        self.seconds_of_others.get()
    }

    /// [`TermInput::run`], with all values on the CPU, contiguous.
    ///
    /// # Errors
    /// As [`TermInput::run`], and where they cannot be moved.
    pub fn run_on_cpu(&self, other: &Arc<dyn Teacher>) -> std::result::Result<Arc<Values>, TermError> {
        let values = self.run(other)?;
        let mut others = self.others.borrow_mut();
        let known = others.iter_mut().find(|(known, _)| Arc::ptr_eq(known, other));
        if let Some((_, Other { on_cpu: Some(found), .. })) = known {
            return Ok(Arc::clone(found));
        }
        let count = values.outputs.len();
        let mut all = transfer::down(values.outputs.iter().chain(values.taps.values()))?;
        let taps = values.taps.keys().copied().zip(all.split_off(count)).collect();
        let found = Arc::new(Values { outputs: all, taps });
        if let Some((_, other)) = known {
            other.on_cpu = Some(Arc::clone(&found));
        }
        Ok(found)
    }
}

fn down_map<K: Ord + Clone>(tensors: &BTreeMap<K, Tensor>) -> Result<BTreeMap<K, Tensor>> {
    Ok(tensors.keys().cloned().zip(transfer::down(tensors.values())?).collect())
}

fn get_or_try<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(found) => Ok(found),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

/// Gradients of an objective, summed as its terms add theirs.
#[derive(Clone, Debug, Default)]
pub struct LossGradients {
    /// With respect to the student's outputs and taps.
    pub(super) values: ValueGradients,
    /// With respect to the terms' own tensors and the student's trained tensors, by name.
    pub(super) tensors: Tensors,
    /// Gradients that are on another device than those that they are to be added to.
    apart: Vec<(Leaf, Tensor)>,
}

/// What a gradient is with respect to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf {
    /// One of the student's outputs.
    Output(usize),
    /// A tapped node's output.
    Tap(NodeId),
    /// One of the terms' own tensors or of the student's trained ones.
    Tensor(String),
}

impl LossGradients {
    /// None yet, for a graph with so many outputs.
    pub fn none(outputs: usize) -> Self {
        let values = ValueGradients { outputs: vec![None; outputs], ..ValueGradients::default() };
        Self { values, ..Self::default() }
    }

    /// With respect to the student's outputs and taps.
    pub fn values(&self) -> &ValueGradients {
        &self.values
    }

    /// With respect to the terms' own tensors and the student's trained tensors, by name.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Adds a gradient with respect to an output. Later terms may change the tensor in place.
    ///
    /// # Errors
    /// Where it does not fit what is there, or there is no such output.
    pub fn add_output(&mut self, index: usize, gradient: Tensor) -> Result<()> {
        self.add(Leaf::Output(index), gradient)
    }

    /// Adds a gradient with respect to a tapped node's output.
    ///
    /// # Errors
    /// Where it does not fit what is there.
    pub fn add_tap(&mut self, node: NodeId, gradient: Tensor) -> Result<()> {
        self.add(Leaf::Tap(node), gradient)
    }

    /// Adds a gradient with respect to a tensor, which is one of the terms' own or of the student's trained ones.
    ///
    /// # Errors
    /// Where it does not fit what is there.
    pub fn add_tensor(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        self.add(Leaf::Tensor(name.to_owned()), gradient)
    }

    /// Lets `add` work in place on the numbers of the gradient with respect to an output, on the CPU; they are zeros at
    /// first. `output` is the student's, of [`TermInput::outputs_on_cpu`].
    ///
    /// # Errors
    /// Where there is no such output, or the gradient cannot be moved.
    pub fn change_output<R>(&mut self, index: usize, output: &Tensor, add: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        let leaf = Leaf::Output(index);
        let gradient = match self.take(&leaf)? {
            Some(gradient) if gradient.device().is_cpu() => gradient.contiguous()?,
            other => {
                self.apart.extend(other.map(|gradient| (leaf.clone(), gradient)));
                Tensor::from_vec(numbers::zeros(output.elem_count()), output.dims(), &Device::Cpu)?
            }
        };
        let result = numbers::modify(&gradient, add)?;
        self.put(leaf, gradient);
        Ok(result)
    }

    /// Adds all of another objective's gradients for the same values, times a factor.
    ///
    /// # Errors
    /// Where they do not fit what is there.
    pub fn add_scaled(&mut self, other: Self, factor: f64) -> Result<()> {
        let Self { values, tensors, apart } = other;
        let outputs = values.outputs.into_iter().enumerate();
        let outputs = outputs.filter_map(|(index, gradient)| Some((Leaf::Output(index), gradient?)));
        let taps = values.taps.into_iter().map(|(node, gradient)| (Leaf::Tap(node), gradient));
        let tensors = tensors.into_iter().map(|(name, gradient)| (Leaf::Tensor(name), gradient));
        let mut all = outputs.chain(taps).chain(tensors).chain(apart);
        all.try_for_each(|(leaf, gradient)| self.add(leaf, (gradient * factor)?))
    }

    /// Adds a gradient.
    pub(super) fn add(&mut self, leaf: Leaf, gradient: Tensor) -> Result<()> {
        let sum = match self.take(&leaf)? {
            Some(before) if before.device().same_device(gradient.device()) => (before + gradient)?,
            Some(before) => {
                self.apart.push((leaf.clone(), gradient));
                before
            }
            None => gradient,
        };
        self.put(leaf, sum);
        Ok(())
    }

    fn take(&mut self, leaf: &Leaf) -> Result<Option<Tensor>> {
        match leaf {
            Leaf::Output(index) => {
                let count = self.values.outputs.len();
                let missing = || candle_core::Error::Msg(format!("a gradient for output {index} of {count}"));
                Ok(self.values.outputs.get_mut(*index).ok_or_else(missing)?.take())
            }
            Leaf::Tap(node) => Ok(self.values.taps.remove(node)),
            Leaf::Tensor(name) => Ok(self.tensors.remove(name)),
        }
    }

    fn put(&mut self, leaf: Leaf, gradient: Tensor) {
        match leaf {
            Leaf::Output(index) => self.values.outputs[index] = Some(gradient),
            Leaf::Tap(node) => drop(self.values.taps.insert(node, gradient)),
            Leaf::Tensor(name) => drop(self.tensors.insert(name, gradient)),
        }
    }

    /// All of them on a device.
    pub(super) fn move_to_device(&mut self, device: &Device) -> Result<()> {
        let apart = self.apart.iter_mut().map(|(_, gradient)| gradient);
        let values = self.values.outputs.iter_mut().flatten().chain(self.values.taps.values_mut());
        let all: Vec<&mut Tensor> = values.chain(self.tensors.values_mut()).chain(apart).collect();
        let moved = transfer::up(all.iter().map(|gradient| &**gradient), device)?;
        all.into_iter().zip(moved).for_each(|(gradient, moved)| *gradient = moved);
        std::mem::take(&mut self.apart).into_iter().try_for_each(|(leaf, gradient)| self.add(leaf, gradient))
    }
}
