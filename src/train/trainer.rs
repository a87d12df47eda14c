//! One step of training: forward, the terms of the loss, backward, and the update of the parameters.

use candle_core::Tensor;
use espalier_kernels::optim;

use super::{
    error::TrainError,
    objective::{Objective, ObjectiveValue},
    optimizer::{Average, Optimizer, Rates},
    options::FitOptions,
    parameters::Layout,
    schedule::Decay,
    term::TermInput,
};
use crate::{
    data::Target,
    exec::{self, TrainOptions},
    model::{Model, Tensors},
};

/// A model in training: its weights, their moving average, and the optimiser's state. What the model's masks hold at zero
/// stays zero, in the weights and in the average.
#[derive(Clone, Debug)]
pub struct Trainer {
    model: Model,
    extra: Tensors,
    layout: Layout,
    pub(super) values: Vec<f32>,
    pub(super) average: Option<Vec<f32>>,
    pub(super) optimizer: Optimizer,
    gradients: Vec<f32>,
    mask: Option<Vec<f32>>,
    clip: f32,
    decay: Decay,
    backend: exec::Backend,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The objective's total.
    pub total: f64,
    /// Its parts.
    pub parts: Vec<f32>,
    /// The gradient's global norm before clipping.
    pub norm: f64,
    /// Whether the step was made; not where the total or the gradient is not finite.
    pub made: bool,
}

/// A batch gone through: what the objective came to, and gradients where that is finite.
struct Computed {
    total: f64,
    parts: Vec<f32>,
    gradients: Option<Reached>,
}

/// What moves the parameters.
struct Reached {
    /// Gradients that the backward pass gives, by tensor name.
    reached: Tensors,
    /// Gradients that the terms give directly.
    own: Tensors,
    /// Running averages after the batch.
    running: Tensors,
}

impl Trainer {
    /// Begins with a model and an objective's own tensors; `steps` is how many the run will have.
    ///
    /// # Errors
    /// Where the objective's tensors have names of the model's, tensors cannot be read, or the precision is not to be had.
    pub fn new(model: &Model, extra: &Tensors, options: &FitOptions, steps: usize) -> Result<Self, TrainError> {
        if let Some(name) = extra.keys().find(|name| model.tensors().contains_key(*name)) {
            let reason = "has the name of one of the model's tensors".into();
            return Err(TrainError::Extra { what: "tensor", name: name.clone(), reason });
        }
        let layout = Layout::new(model, extra);
        let mut values = vec![0.0; layout.len()];
        layout.gather(|name| model.tensors().get(name).or_else(|| extra.get(name)), &mut values, false)?;
        let mask = match model.masks().is_empty() {
            true => None,
            false => {
                let mut mask = vec![1.0; layout.trained()];
                layout.gather(|name| model.masks().get(name), &mut mask, false)?;
                Some(mask)
            }
        };
        let trained = layout.trained();
        let mut trainer = Self {
            model: model.clone(),
            extra: extra.clone(),
            average: options.ema.then(|| values.clone()),
            values,
            optimizer: Optimizer::new(options.optimizer, options.weight_decay, trained),
            gradients: vec![0.0; trained],
            layout,
            mask,
            clip: options.clip,
            decay: Decay::new(steps),
            backend: exec::Backend::for_training(&model.device(), options.precision)?,
        };
        trainer.refresh()?;
        Ok(trainer)
    }

    /// The same, run on a chosen backend.
    pub fn with_backend(self, backend: exec::Backend) -> Self {
        Self { backend, ..self }
    }

    /// The model as trained so far.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model with its averaged weights, or as trained where no average is kept.
    ///
    /// # Errors
    /// Where the tensors cannot be put on the model's device.
    pub fn averaged(&self) -> Result<Model, TrainError> {
        let Some(average) = &self.average else { return Ok(self.model.clone()) };
        Ok(self.model.with_tensors(self.layout.scatter(average)?.0)?)
    }

    /// Makes one step. `progress` is the share of the run that is done.
    ///
    /// # Errors
    /// Where the images do not fit, the objective fails, or its gradients do not fit.
    pub fn step(
        &mut self,
        images: &Tensor,
        targets: &[Target],
        objective: &Objective,
        rates: &Rates,
        progress: f64,
    ) -> Result<StepReport, TrainError> {
        let computed = self.compute(images, targets, objective, progress)?;
        let Computed { total, parts, gradients } = computed;
        let Some(gradients) = gradients else { return Ok(StepReport { total, parts, norm: f64::NAN, made: false }) };
        let (norm, made) = self.update(&gradients, rates)?;
        Ok(StepReport { total, parts, norm, made })
    }

    /// Forward, the terms, backward; nothing is changed.
    fn compute(
        &self,
        images: &Tensor,
        targets: &[Target],
        objective: &Objective,
        progress: f64,
    ) -> Result<Computed, TrainError> {
        let taps = objective.taps();
        let options = TrainOptions { taps: &taps, ..TrainOptions::default() };
        let tape = exec::train_with(self.backend, &self.model, images, &options)?;
        let input = TermInput::new(images, targets, &self.model, &tape.values, &self.extra, progress);
        let ObjectiveValue { total, parts, gradients } = objective.compute(&input)?;
        // What the terms shared for this batch is freed before the backward pass.
        drop(input);
        if !total.is_finite() {
            return Ok(Computed { total, parts, gradients: None });
        }
        let (values, own) = (gradients.values, gradients.tensors);
        let running = tape.running.clone();
        let reached = tape.backward(&values)?.tensors;
        Ok(Computed { total, parts, gradients: Some(Reached { reached, own, running }) })
    }

    /// Moves the parameters: clipping, optimiser, mask, average. Gives the gradient's norm before clipping, and whether
    /// it was finite and the step was made.
    fn update(&mut self, gradients: &Reached, rates: &Rates) -> Result<(f64, bool), TrainError> {
        self.collect(&gradients.reached, &gradients.own)?;
        let norm = optim::sum_of_squares(&self.gradients).sqrt();
        if norm.is_finite() {
            self.apply(norm, rates, &gradients.running)?;
        }
        Ok((norm, norm.is_finite()))
    }

    /// Puts all gradients in the flat array; zero where none reaches.
    fn collect(&mut self, reached: &Tensors, own: &Tensors) -> Result<(), TrainError> {
        for (name, gradient) in own {
            if !self.layout.has_trained(name, gradient.dims()) {
                let reason = format!("of shape {:?} is for no trained tensor of that shape", gradient.dims());
                return Err(TrainError::Extra { what: "gradient", name: name.clone(), reason });
            }
        }
        self.gradients.fill(0.0);
        self.layout.gather(|name| reached.get(name), &mut self.gradients, false)?;
        if !own.is_empty() {
            self.layout.gather(|name| own.get(name), &mut self.gradients, true)?;
        }
        Ok(())
    }

    fn apply(&mut self, norm: f64, rates: &Rates, running: &Tensors) -> Result<(), TrainError> {
        let scale = match self.clip > 0.0 && norm > f64::from(self.clip) {
            true => (f64::from(self.clip) / norm) as f32,
            false => 1.0,
        };
        let trained = self.layout.trained();
        self.layout.gather(|name| running.get(name), &mut self.values, false)?;
        let decay = self.decay.at(self.optimizer.steps + 1);
        let (values, buffers) = self.values.split_at_mut(trained);
        let (average, averaged_buffers) = match &mut self.average {
            Some(average) => {
                let (average, buffers) = average.split_at_mut(trained);
                (Some(Average { values: average, decay }), Some(buffers))
            }
            None => (None, None),
        };
        // With a mask the average follows after it is applied, so that it too keeps its zeros.
        match &self.mask {
            None => self.optimizer.step(self.layout.groups(), values, &self.gradients, scale, rates, average),
            Some(mask) => {
                self.optimizer.step(self.layout.groups(), values, &self.gradients, scale, rates, None);
                values.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask);
                if let Some(average) = average {
                    optim::update_average(optim::Ema { average: average.values, decay }, values);
                }
            }
        }
        if let Some(average) = averaged_buffers {
            optim::update_average(optim::Ema { average, decay }, buffers);
        }
        self.refresh()
    }

    /// Overwrites some of the trained tensors, by name; masked weights stay zero. The average follows from the next step
    /// on.
    ///
    /// # Errors
    /// For a name or a shape that is not trained.
    pub fn overwrite(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        for (name, tensor) in tensors {
            if !self.layout.has_trained(name, tensor.dims()) {
                let reason = format!("of shape {:?} is for no trained tensor of that shape", tensor.dims());
                return Err(TrainError::Extra { what: "value", name: name.clone(), reason });
            }
        }
        self.layout.gather(|name| tensors.get(name), &mut self.values, false)?;
        if let Some(mask) = &self.mask {
            self.values.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask);
        }
        self.refresh()
    }

    /// Makes the model's tensors from the flat values.
    pub(super) fn refresh(&mut self) -> Result<(), TrainError> {
        let (own, extra) = self.layout.scatter(&self.values)?;
        self.model = self.model.with_tensors(own)?;
        self.extra = extra;
        Ok(())
    }

    /// The objective's own tensors as they are now.
    pub fn extra(&self) -> &Tensors {
        &self.extra
    }
}
