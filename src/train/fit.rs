//! The loop over epochs and batches.

use std::{sync::Arc, time::Instant};

use espalier_kernels::allocator::Borrowing;

use super::{
    checkpoint::{self, Identity},
    error::TrainError,
    folder::RunFolder,
    hook::{EpochContext, Flow, Hook, HookError, StepContext},
    hooks,
    loss::DetectionLoss,
    objective::Objective,
    optimizer::Rates,
    options::FitOptions,
    resume::{self, effective_options},
    run::{Epoch, Run, Setup, Validation},
    state::RunState,
    times::Stopwatch,
    trainer::Trainer,
    validate::{Validating, validate},
};
use crate::{
    data::{Augment, BatchOptions, Batches, Dataset},
    io,
    model::Model,
    progress::Progress,
};

/// Trains a model on a dataset's `train` split with its detection loss; see [`fit_with`].
///
/// # Errors
/// As [`fit_with`].
pub fn fit(model: &Model, data: &Dataset, options: &FitOptions, progress: &dyn Progress) -> Result<Run, TrainError> {
    let options = effective_options(options)?;
    let gains = options.gains.for_training(model.detector(), options.size);
    let objective = Objective::detection(model.detector(), &gains)?;
    fit_with(model, data, &options, &objective, &mut [], progress)
}

/// Trains a model on a dataset's `train` split towards an objective, and validates its averaged weights on `val` after
/// each epoch. The model given is not changed; what its masks hold at zero stays zero.
///
/// Where the listener asks to stop, the run ends after the current batch and gives what there is. A run with a folder
/// writes a checkpoint after each epoch, after every `checkpoint_every` steps and when it is stopped; a run resumed from
/// it, with the same model, data, terms and hooks, ends with the same weights as one that was never interrupted: data
/// order and augmentation depend on the seed, the epoch and the image alone.
///
/// # Errors
/// Options out of range, model and dataset that do not fit, a file that cannot be read or written, those of the hooks.
/// Where loss or gradient are no longer finite, [`TrainError::Diverged`] has the run up to there.
pub fn fit_with(
    model: &Model,
    data: &Dataset,
    options: &FitOptions,
    objective: &Objective,
    hooks: &mut [Box<dyn Hook>],
    progress: &dyn Progress,
) -> Result<Run, TrainError> {
    let _memory = Borrowing::begin();
    let mut session = Session::begin(model, data, options, objective, hooks)?;
    if let count @ 1.. = data.split("train")?.unlabelled.len() {
        progress.note(&format!(
            "the {count} unlabelled images of train do not count: there is no label to train them with"
        ));
    }
    progress.start("train", Some(session.total_steps() as u64));
    let ended = session.run(progress);
    progress.finish();
    let stopped = match ended? {
        Ended::Complete => false,
        Ended::Stopped => true,
        Ended::Diverged { what, cause, lr } => {
            let (epoch, batch) = (session.state.epoch + 1, session.state.batch + 1);
            let run = Box::new(session.finish(true)?);
            return Err(TrainError::Diverged { what, epoch, batch, cause, lr, run });
        }
    };
    session.finish(stopped)
}

/// How the loop ended.
enum Ended {
    Complete,
    Stopped,
    Diverged { what: &'static str, cause: String, lr: f32 },
}

/// A run while it goes on.
struct Session<'a> {
    /// As it was before the first step.
    model: Model,
    data: &'a Dataset,
    options: FitOptions,
    objective: &'a Objective,
    parts: Vec<String>,
    loss: DetectionLoss,
    trainer: Trainer,
    hooks: Hooks<'a>,
    identity: Identity,
    /// Steps of an epoch.
    batches: usize,
    state: RunState,
    best: Option<Model>,
    folder: Option<RunFolder>,
    began: Instant,
    /// Seconds of the sessions before this one.
    earlier: f64,
}

/// The hooks that the options ask for, and those given.
struct Hooks<'a> {
    own: Vec<Box<dyn Hook>>,
    given: &'a mut [Box<dyn Hook>],
}

impl Hooks<'_> {
    fn all(&self) -> Vec<&dyn Hook> {
        self.own.iter().chain(&*self.given).map(|hook| &**hook).collect()
    }

    fn each(&mut self) -> impl Iterator<Item = &mut (dyn Hook + 'static)> {
        self.own.iter_mut().chain(&mut *self.given).map(|hook| &mut **hook)
    }

    /// Calls each in turn.
    fn call(&mut self, mut act: impl FnMut(&mut dyn Hook) -> Result<(), HookError>) -> Result<(), TrainError> {
        self.each()
            .try_for_each(|hook| act(hook).map_err(|source| TrainError::Hook { hook: hook.name().to_owned(), source }))
    }

    /// What all have to say of a model.
    fn figures(&self, model: &Model) -> Result<Vec<(String, f64)>, TrainError> {
        let mut all = Vec::new();
        for hook in self.all() {
            let figures = hook.figures(model);
            all.extend(figures.map_err(|source| TrainError::Hook { hook: hook.name().to_owned(), source })?);
        }
        Ok(all)
    }

    fn check_names(&self) -> Result<(), TrainError> {
        let names: Vec<&str> = self.all().iter().map(|hook| hook.name()).collect();
        match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            Some((_, name)) => {
                Err(TrainError::Hook { hook: (*name).into(), source: "two hooks have this name".into() })
            }
            None => Ok(()),
        }
    }
}

impl<'a> Session<'a> {
    fn begin(
        model: &Model,
        data: &'a Dataset,
        options: &FitOptions,
        objective: &'a Objective,
        given: &'a mut [Box<dyn Hook>],
    ) -> Result<Self, TrainError> {
        let resumed = options.resume.as_ref().map(|path| -> Result<_, TrainError> {
            let folder = RunFolder::open(path);
            let checkpoint = checkpoint::load(&folder.checkpoint())?;
            Ok((folder, checkpoint))
        });
        let resumed = resumed.transpose()?;
        let refused = |folder: &RunFolder| {
            let path = folder.checkpoint();
            move |source| TrainError::Checkpoint { path, source }
        };
        let options = match &resumed {
            Some((folder, checkpoint)) => resume::merged(options, &checkpoint.options).map_err(refused(folder))?,
            None => options.clone(),
        };
        options.validate(model, data)?;
        let split = data.split("train")?;
        if options.validate {
            data.split("val")?;
        }
        let batches = split.samples.len().div_ceil(options.batch);
        let mut hooks = Hooks { own: hooks::of_options(&options, batches), given };
        hooks.check_names()?;
        let tensors = objective.tensors()?;
        let identity = Identity::new(model, &data.name, objective, &tensors, &hooks.all())?;
        let mut trainer = Trainer::new(model, &tensors, &options, options.epochs * batches)?;
        let loss = DetectionLoss::new(model.detector(), &options.gains.for_training(model.detector(), options.size))?;
        let (folder, state, best) = match resumed {
            Some((folder, checkpoint)) => {
                resume::check(&checkpoint, model, &identity).map_err(refused(&folder))?;
                let best = checkpoint.has_best().then(|| io::load(folder.best())).transpose()?;
                let best = best.map(|best| best.to_device(&model.device())?.with_masks(model.masks().clone()));
                let state = checkpoint.restore(&folder.checkpoint(), &mut trainer, hooks.each())?;
                (Some(folder), state, best.transpose()?)
            }
            None => (options.folder.as_deref().map(RunFolder::create).transpose()?, RunState::default(), None),
        };
        Ok(Self {
            parts: objective.part_names(),
            earlier: state.seconds,
            model: model.clone(),
            data,
            options,
            objective,
            loss,
            trainer,
            hooks,
            identity,
            batches,
            state,
            best,
            folder,
            began: Instant::now(),
        })
    }

    fn total_steps(&self) -> usize {
        self.options.epochs * self.batches
    }

    fn run(&mut self, progress: &dyn Progress) -> Result<Ended, TrainError> {
        while self.state.epoch < self.options.epochs {
            let ended = match self.steps(progress)? {
                Some(ended) => Some(ended),
                None => self.close_epoch(progress)?,
            };
            self.checkpoint()?;
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
        Ok(Ended::Complete)
    }

    /// The rest of the current epoch's steps; says why the run ends, where it does.
    fn steps(&mut self, progress: &dyn Progress) -> Result<Option<Ended>, TrainError> {
        let options = BatchOptions {
            size: self.options.size,
            batch: self.options.batch,
            seed: self.options.seed,
            epoch: self.state.epoch as u64,
            augment: self.augment(),
            ..BatchOptions::default()
        };
        let steps = self.total_steps();
        self.state.sums.resize(self.parts.len(), 0.0);
        let (began, before) = (Instant::now(), self.state.images);
        let mut clock = Stopwatch::start();
        // Batches that a resumed run has done are made once more and passed over.
        for batch in Batches::train(self.data.split("train")?, &options)?.skip(self.state.batch) {
            let batch = batch?;
            self.state.times.data += clock.lap();
            if progress.stop_requested() {
                return Ok(Some(Ended::Stopped));
            }
            let (epoch, step) = (self.state.epoch, self.state.step);
            let mut rates = Rates { lr: [self.options.lr; 3], momentum: self.options.momentum };
            let trainer = &mut self.trainer;
            let mut context = StepContext { epoch, step, steps, rates: &mut rates, trainer };
            self.hooks.call(|hook| hook.before_step(&mut context))?;
            self.state.times.optimizer += clock.lap();
            let share = step as f64 / steps as f64;
            let report = self.trainer.step(&batch.images, &batch.targets, self.objective, &rates, share)?;
            clock.lap();
            self.state.times += report.times;
            if let Some(cause) = report.cause {
                let what = if report.total.is_finite() { "gradient" } else { "loss" };
                return Ok(Some(Ended::Diverged { what, cause, lr: rates.lr[1] }));
            }
            let mut context = StepContext { epoch, step, steps, rates: &mut rates, trainer: &mut self.trainer };
            self.hooks.call(|hook| hook.after_step(&mut context))?;
            self.state.times.optimizer += clock.lap();
            let count = batch.origins.len();
            for (sum, &part) in self.state.sums.iter_mut().zip(&report.parts) {
                *sum += f64::from(part) * count as f64;
            }
            self.state.images += count;
            self.state.batch += 1;
            self.state.step += 1;
            self.state.lr = rates.lr;
            let speed = (self.state.images - before) as f64 / began.elapsed().as_secs_f64();
            progress.advance(self.state.step as u64, &self.message(speed));
            let every = self.options.checkpoint_every;
            if every > 0 && self.state.step.is_multiple_of(every) {
                self.checkpoint()?;
            }
            clock.lap();
        }
        Ok(None)
    }

    fn augment(&self) -> Augment {
        let augment = self.options.augment;
        let last = self.state.epoch + self.options.close_mosaic >= self.options.epochs;
        if last { augment.without_mosaic() } else { augment }
    }

    fn message(&self, images_per_second: f64) -> String {
        let parts = self.parts.iter().zip(self.state.losses()).map(|(part, loss)| format!(" · {part} {loss:.4}"));
        let parts: String = parts.collect();
        format!("{}{parts} · {images_per_second:.1} images/s", self.label())
    }

    fn label(&self) -> String {
        format!("epoch {}/{}", self.state.epoch + 1, self.options.epochs)
    }

    /// Validates, keeps the best, writes the files, and moves on to the next epoch; says why the run ends, where it does.
    /// A run that is stopped in its validation validates again when it is resumed.
    fn close_epoch(&mut self, progress: &dyn Progress) -> Result<Option<Ended>, TrainError> {
        let number = self.state.epoch + 1;
        let averaged = self.averaged(number)?;
        let validation = if self.options.validate || (number == self.options.epochs && self.has_validation()) {
            let shown = Validating::new(progress, self.state.step, self.label());
            let mut clock = Stopwatch::start();
            let found = validate(&averaged, self.data, &self.options, &self.loss, &shown)?;
            self.state.times.validation += clock.lap();
            let Some(found) = found else { return Ok(Some(Ended::Stopped)) };
            Some(found)
        } else {
            None
        };
        let better = validation.as_ref().is_some_and(|found| self.state.is_best(found.fitness(), number));
        if better {
            let mut clock = Stopwatch::start();
            if let Some(folder) = &self.folder {
                folder.save(&averaged, &folder.best())?;
            }
            self.state.times.files += clock.lap();
            self.best = Some(averaged.clone());
        }
        let (losses, lr) = (self.state.losses(), self.state.lr);
        let figures = self.hooks.figures(&averaged)?;
        let row = Epoch { epoch: number, seconds: self.seconds(), losses, validation, lr, figures };
        progress.note(&self.line(&row, better));
        let ended = self.call_after_epoch(&row, progress)?;
        self.state.close_epoch(row);
        let mut clock = Stopwatch::start();
        if let Some(folder) = &self.folder {
            folder.save(&averaged, &folder.last())?;
            folder.save_results(&self.parts, &self.validation_parts(), &self.state.history)?;
        }
        self.state.times.files += clock.lap();
        Ok(ended)
    }

    fn call_after_epoch(&mut self, row: &Epoch, progress: &dyn Progress) -> Result<Option<Ended>, TrainError> {
        let best = self.state.best.map(|(_, epoch)| epoch);
        let mut context = EpochContext { row, best, notes: Vec::new(), trainer: &mut self.trainer };
        let mut ended = None;
        self.hooks.call(|hook| {
            if let Flow::Stop(reason) = hook.after_epoch(&mut context)? {
                progress.note(&reason);
                ended = Some(Ended::Complete);
            }
            Ok(())
        })?;
        context.notes.iter().for_each(|note| progress.note(note));
        Ok(ended)
    }

    fn has_validation(&self) -> bool {
        self.data.split("val").is_ok()
    }

    fn line(&self, row: &Epoch, better: bool) -> String {
        let mut line = format!("epoch {:>3}/{}", row.epoch, self.options.epochs);
        line.extend(self.parts.iter().zip(&row.losses).map(|(part, loss)| format!("  {part} {loss:.4}")));
        if let Some(Validation { precision, recall, map50, map, .. }) = &row.validation {
            line += &format!("  P {precision:.3}  R {recall:.3}  mAP50 {map50:.3}  mAP50-95 {map:.3}");
        }
        line.extend(row.figures.iter().map(|(name, figure)| format!("  {name} {figure:.4}")));
        if better { line + "  best" } else { line }
    }

    fn validation_parts(&self) -> Vec<String> {
        self.loss.part_names().map(String::from).to_vec()
    }

    fn seconds(&self) -> f64 {
        self.earlier + self.began.elapsed().as_secs_f64()
    }

    /// The averaged model after so many epochs, with a line of history that says so.
    fn averaged(&self, epochs: usize) -> Result<Model, TrainError> {
        let step = format!("trained for {epochs} epochs of {} at {} px", self.data.name, self.options.size);
        Ok(self.trainer.averaged()?.with_step(step))
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.state.seconds = self.seconds();
        let Some(folder) = &self.folder else { return Ok(()) };
        let (path, mut clock) = (folder.checkpoint(), Stopwatch::start());
        checkpoint::save(&path, &self.trainer, &self.options, &self.identity, &self.state, &self.hooks.all())?;
        self.state.times.files += clock.lap();
        Ok(())
    }

    fn finish(self, stopped: bool) -> Result<Run, TrainError> {
        let last = self.averaged(self.state.epoch)?;
        let setup = Setup {
            model: self.model.clone(),
            data: self.data.clone(),
            size: self.options.size,
            batch: self.options.batch,
            settings: self.options.settings(),
            teachers: Vec::new(),
            imitation: Vec::new(),
        };
        Ok(Run {
            model: self.best.clone().unwrap_or_else(|| last.clone()),
            last,
            best: self.state.best.map(|(_, epoch)| epoch),
            validation_parts: self.validation_parts(),
            seconds: self.seconds(),
            times: self.state.times,
            parts: self.parts,
            history: self.state.history,
            folder: self.folder.map(|folder| folder.path().to_path_buf()),
            stopped,
            setup: Arc::new(setup),
        })
    }
}
