//! One summand of what training minimises.

use std::{
    cell::{OnceCell, RefCell},
    sync::Arc,
};

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use crate::{
    data::Target,
    exec::{
        ExecError, Inference, ValueGradients, Values,
        numbers::{self, on_cpu},
    },
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
    fn compute(&self, input: &TermInput<'_>, gradients: &mut Gradients) -> std::result::Result<Vec<f64>, TermError>;
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
    outputs: OnceCell<Vec<Tensor>>,
    others: RefCell<Vec<(Arc<Inference>, Arc<Values>)>>,
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
        let (outputs, others) = (OnceCell::new(), RefCell::default());
        Self { images, targets, student, values, tensors, progress, outputs, others }
    }

    /// Images of the batch.
    pub fn batch(&self) -> usize {
        self.images.dims().first().copied().unwrap_or(0)
    }

    /// The student's outputs on the CPU, contiguous; copied once, from another device, for all terms.
    ///
    /// # Errors
    /// Where they cannot be moved.
    pub fn outputs_on_cpu(&self) -> Result<&[Tensor]> {
        if self.outputs.get().is_none() {
            let outputs = self.values.outputs.iter().map(on_cpu).collect::<Result<_>>()?;
            return Ok(self.outputs.get_or_init(|| outputs));
        }
        Ok(self.outputs.get().map_or(&[], Vec::as_slice))
    }

    /// What another model (a teacher) gives for the images. It is run once, however many terms ask for it.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn run(&self, other: &Arc<Inference>) -> std::result::Result<Arc<Values>, ExecError> {
        if let Some((_, values)) = self.others.borrow().iter().find(|(known, _)| Arc::ptr_eq(known, other)) {
            return Ok(Arc::clone(values));
        }
        let values = Arc::new(other.run(self.images)?);
        self.others.borrow_mut().push((Arc::clone(other), Arc::clone(&values)));
        Ok(values)
    }
}

/// Gradients of an objective, summed as its terms add theirs.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// With respect to the student's outputs and taps.
    pub(super) values: ValueGradients,
    /// With respect to the terms' own tensors and the student's trained tensors, by name.
    pub(super) tensors: Tensors,
}

impl Gradients {
    /// None yet, for a graph with so many outputs.
    pub fn none(outputs: usize) -> Self {
        Self { values: ValueGradients { outputs: vec![None; outputs], ..Default::default() }, tensors: Tensors::new() }
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
        let slot = self.output(index)?;
        *slot = Some(sum(slot.take(), gradient)?);
        Ok(())
    }

    /// Adds a gradient with respect to a tapped node's output.
    ///
    /// # Errors
    /// Where it does not fit what is there.
    pub fn add_tap(&mut self, node: NodeId, gradient: Tensor) -> Result<()> {
        let before = self.values.taps.remove(&node);
        self.values.taps.insert(node, sum(before, gradient)?);
        Ok(())
    }

    /// Adds a gradient with respect to a tensor, which is one of the terms' own or of the student's trained ones.
    ///
    /// # Errors
    /// Where it does not fit what is there.
    pub fn add_tensor(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        let before = self.tensors.remove(name);
        self.tensors.insert(name.to_owned(), sum(before, gradient)?);
        Ok(())
    }

    /// Lets `add` work in place on the numbers of the gradient with respect to an output, on the CPU; they are zeros at
    /// first. `output` is the student's, of [`TermInput::outputs_on_cpu`].
    ///
    /// # Errors
    /// Where there is no such output, or the gradient cannot be moved.
    pub fn change_output<R>(&mut self, index: usize, output: &Tensor, add: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        let slot = self.output(index)?;
        let gradient = match slot.take() {
            Some(gradient) => on_cpu(&gradient)?,
            None => Tensor::from_vec(numbers::zeros(output.elem_count()), output.dims(), &Device::Cpu)?,
        };
        let result = numbers::change(&gradient, add)?;
        *slot = Some(gradient);
        Ok(result)
    }

    fn output(&mut self, index: usize) -> Result<&mut Option<Tensor>> {
        let count = self.values.outputs.len();
        let missing = || candle_core::Error::Msg(format!("a gradient for output {index} of {count}"));
        self.values.outputs.get_mut(index).ok_or_else(missing)
    }

    /// All of them on a device.
    pub(super) fn to_device(&mut self, device: &Device) -> Result<()> {
        let outputs = self.values.outputs.iter_mut().flatten();
        for gradient in outputs.chain(self.values.taps.values_mut()).chain(self.tensors.values_mut()) {
            *gradient = gradient.to_device(device)?;
        }
        Ok(())
    }
}

fn sum(before: Option<Tensor>, gradient: Tensor) -> Result<Tensor> {
    match before {
        Some(before) => before.to_device(gradient.device())? + gradient,
        None => Ok(gradient),
    }
}
