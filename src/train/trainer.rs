//! One step of training: forward, the terms of the loss, backward, and the update of the parameters.

use candle_core::Tensor;

use super::{
    cause,
    error::TrainError,
    flat::Flat,
    layout::Layout,
    objective::{Objective, ObjectiveValue},
    optimizer::Rates,
    options::FitOptions,
    parameters::{Arrays, Parameters, Update},
    resident::Resident,
    schedule::Decay,
    term::TermInput,
    times::{RunTimes, Stopwatch},
};
use crate::{
    data::Target,
    exec::{self, Backend, TrainOptions, ValueGradients, transfer},
    model::{Model, Tensors},
};

/// A model in training: its weights, their moving average, and the optimiser's state. What the model's masks hold at zero
/// stays zero, in the weights and in the average.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    extra: Tensors,
    parameters: Box<dyn Parameters>,
    clip: f32,
    decay: Decay,
    backend: Backend,
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
    /// Where the step was not made, since the total or the gradient is not finite: which part of the loss and which layer are
    /// to blame, as far as that can be told.
    pub cause: Option<String>,
    /// Where its time went. A device that works on its own has the time of what waits for it.
    pub times: RunTimes,
}

/// A batch gone through: what the objective came to, and gradients where that is finite, or what is not.
struct Computed {
    total: f64,
    parts: Vec<f32>,
    gradients: Result<Reached, String>,
    times: RunTimes,
}

/// What moves the parameters.
struct Reached {
    /// Gradients that the backward pass gives, by tensor name.
    reached: Tensors,
    /// Gradients that the terms give directly.
    own: Tensors,
    /// Running averages after the batch.
    running: Tensors,
    /// Gradients that the terms give for what the model gave.
    values: ValueGradients,
}

impl Trainer {
    /// Begins with a model and an objective's own tensors; `steps` is how many the run will have. On the reference backend
    /// the parameters stay on the model's device.
    ///
    /// # Errors
    /// Where the objective's tensors have names of the model's, tensors cannot be read, or the precision is not to be had.
    pub fn new(model: &Model, extra: &Tensors, options: &FitOptions, steps: usize) -> Result<Self, TrainError> {
        let backend = options.backend_for(&model.device())?;
        if let Some(name) = extra.keys().find(|name| model.tensors().contains_key(*name)) {
            let reason = "has the name of one of the model's tensors".into();
            return Err(TrainError::Extra { what: "tensor", name: name.clone(), reason });
        }
        let mut trainer = Self {
            model: model.clone(),
            extra: extra.clone(),
            parameters: parameters(backend, model, extra, options)?,
            clip: options.clip,
            decay: Decay::new(steps),
            backend,
        };
        trainer.refresh()?;
        Ok(trainer)
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
        match self.parameters.averaged()? {
            Some(tensors) => Ok(self.model.with_tensors(tensors)?),
            None => Ok(self.model.clone()),
        }
    }

    /// Makes one step. The images are on the host or on the model's device; `progress` is the share of the run that is
    /// done.
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
        let Computed { total, parts, gradients, mut times } = computed;
        let gradients = match gradients {
            Ok(gradients) => gradients,
            Err(cause) => return Ok(StepReport { total, parts, norm: f64::NAN, cause: Some(cause), times }),
        };
        let mut clock = Stopwatch::start();
        let (norm, made) = self.update(&gradients, rates)?;
        times.optimizer = clock.lap();
        let cause = (!made).then(|| {
            let Reached { own, values, .. } = &gradients;
            cause::of_gradient(objective, values, own.iter(), self.model.graph())
        });
        Ok(StepReport { total, parts, norm, cause, times })
    }

    /// Forward, the terms, backward; nothing is changed.
    fn compute(
        &self,
        images: &Tensor,
        targets: &[Target],
        objective: &Objective,
        progress: f64,
    ) -> Result<Computed, TrainError> {
        let (mut clock, mut times) = (Stopwatch::start(), RunTimes::default());
        let (taps, device) = (objective.taps(), self.model.device());
        let images = &transfer::up_one(images, &device)?;
        let options = TrainOptions { taps: &taps, ..TrainOptions::default() };
        let tape = exec::train_with(self.backend, &self.model, images, &options)?;
        times.forward = clock.lap();
        let input = TermInput::new(images, targets, &self.model, &tape.values, &self.extra, progress);
        let ObjectiveValue { total, parts, gradients } = objective.compute(&input)?;
        times.teacher = input.seconds_of_others();
        times.loss = clock.lap() - times.teacher;
        // What the terms shared for this batch is freed before the backward pass.
        drop(input);
        if !total.is_finite() {
            let cause = cause::of_loss(objective, &parts, &tape.values, self.model.graph());
            return Ok(Computed { total, parts, gradients: Err(cause), times });
        }
        let (values, own) = (gradients.values, gradients.tensors);
        let running = tape.running.clone();
        let reached = tape.backward(&values)?.tensors;
        times.backward = clock.lap();
        Ok(Computed { total, parts, gradients: Ok(Reached { reached, own, running, values }), times })
    }

    /// Moves the parameters: clipping, optimiser, mask, average. Gives the gradient's norm before clipping, and whether
    /// it was finite and the step was made.
    fn update(&mut self, gradients: &Reached, rates: &Rates) -> Result<(f64, bool), TrainError> {
        let Reached { reached, own, running, values: _ } = gradients;
        for (name, gradient) in own {
            if !self.parameters.layout().has_trained(name, gradient.dims()) {
                let reason = format!("of shape {:?} is for no trained tensor of that shape", gradient.dims());
                return Err(TrainError::Extra { what: "gradient", name: name.clone(), reason });
            }
        }
        let (clip, decay) = (self.clip, self.decay);
        let norm = self.parameters.update(&Update { gradients: [reached, own], running, clip, rates, decay })?;
        if norm.is_finite() {
            self.refresh()?;
        }
        Ok((norm, norm.is_finite()))
    }

    /// Overwrites some of the trained tensors, by name; masked weights stay zero. The average follows from the next step
    /// on.
    ///
    /// # Errors
    /// For a name or a shape that is not trained.
    pub fn overwrite(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        self.check_trained(tensors)?;
        self.parameters.overwrite(tensors)?;
        self.refresh()
    }

    /// Overwrites some of the trained tensors, by name, with what a proximal step makes of them: as if the last step of the
    /// optimiser had given that. Their average follows at once and is exactly zero wherever they are; masked weights stay
    /// zero.
    ///
    /// # Errors
    /// For a name or a shape that is not trained.
    pub fn step_to(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        self.check_trained(tensors)?;
        self.parameters.step_to(tensors, self.decay)?;
        self.refresh()
    }

    fn check_trained(&self, tensors: &Tensors) -> Result<(), TrainError> {
        for (name, tensor) in tensors {
            if !self.parameters.layout().has_trained(name, tensor.dims()) {
                let reason = format!("of shape {:?} is for no trained tensor of that shape", tensor.dims());
                return Err(TrainError::Extra { what: "value", name: name.clone(), reason });
            }
        }
        Ok(())
    }

    /// Takes the tensors from the parameters.
    fn refresh(&mut self) -> Result<(), TrainError> {
        let (own, extra) = self.parameters.tensors()?;
        self.model = self.model.with_tensors(own)?;
        self.extra = extra;
        Ok(())
    }

    /// What a checkpoint keeps, on the CPU.
    pub(super) fn arrays(&self) -> Result<Arrays<'_>, TrainError> {
        Ok(self.parameters.arrays()?)
    }

    /// Goes on from arrays of the same lengths.
    pub(super) fn restore(&mut self, arrays: Arrays<'_>) -> Result<(), TrainError> {
        self.parameters.restore(arrays)?;
        self.refresh()
    }

    /// The objective's own tensors as they are now.
    pub fn extra(&self) -> &Tensors {
        &self.extra
    }
}

/// The parameters of a model and of terms, where a backend works best on them.
pub(super) fn parameters(
    backend: Backend,
    model: &Model,
    extra: &Tensors,
    options: &FitOptions,
) -> candle_core::Result<Box<dyn Parameters>> {
    let layout = Layout::new(model, extra);
    Ok(match backend {
        Backend::Fast(_) => Box::new(Flat::new(layout, model, extra, options)?),
        Backend::Reference => Box::new(Resident::new(layout, model, extra, options)?),
    })
}
