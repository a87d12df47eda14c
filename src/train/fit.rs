//! The loop over epochs and batches.

use std::time::Instant;

use super::{
    Epoch, FitOptions, Objective, Run, TrainError, Trainer, Validation,
    checkpoint::{self, Place},
    folder::RunFolder,
    loss::DetectionLoss,
    resume::effective_options,
    schedule::Pace,
    validate::validate,
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
    fit_with(model, data, &options, &objective, progress)
}

/// Trains a model on a dataset's `train` split towards an objective, and validates its averaged weights on `val` after
/// each epoch. The model given is not changed.
///
/// Where the listener asks to stop, the run ends after the current batch and gives what there is. A run with a folder
/// writes a checkpoint after each epoch, after every `checkpoint_every` steps and when it is stopped; a run resumed from
/// it ends with the same weights as one that was never interrupted: data order and augmentation depend on the seed, the
/// epoch and the image alone.
///
/// # Errors
/// Options out of range, model and dataset that do not fit, a file that cannot be read or written. Where loss or
/// gradient are no longer finite, [`TrainError::Diverged`] has the run up to there.
pub fn fit_with(
    model: &Model,
    data: &Dataset,
    options: &FitOptions,
    objective: &Objective,
    progress: &dyn Progress,
) -> Result<Run, TrainError> {
    let mut session = Session::begin(model, data, options, objective)?;
    progress.start("train", Some(session.total_steps() as u64));
    let ended = session.run(progress);
    progress.finish();
    let stopped = match ended? {
        Ended::Complete => false,
        Ended::Stopped => true,
        Ended::Diverged { what, lr } => {
            let (epoch, batch) = (session.place.epoch + 1, session.place.batch + 1);
            let run = Box::new(session.finish(true)?);
            return Err(TrainError::Diverged { what, epoch, batch, lr, run });
        }
    };
    session.finish(stopped)
}

/// How the loop ended.
enum Ended {
    Complete,
    Stopped,
    Diverged { what: &'static str, lr: f32 },
}

/// A run while it goes on.
struct Session<'a> {
    data: &'a Dataset,
    options: FitOptions,
    objective: &'a Objective,
    parts: Vec<String>,
    loss: DetectionLoss,
    trainer: Trainer,
    pace: Pace,
    /// Steps of an epoch.
    batches: usize,
    place: Place,
    best: Option<Model>,
    folder: Option<RunFolder>,
    began: Instant,
    /// Seconds of the sessions before this one.
    earlier: f64,
}

impl<'a> Session<'a> {
    fn begin(
        model: &Model,
        data: &'a Dataset,
        options: &FitOptions,
        objective: &'a Objective,
    ) -> Result<Self, TrainError> {
        let resumed = options.resume.as_ref().map(|path| -> Result<_, TrainError> {
            let folder = RunFolder::open(path);
            let checkpoint = checkpoint::load(&folder.checkpoint())?;
            super::resume::check(&checkpoint, &folder, model, data, objective)?;
            Ok((folder, checkpoint))
        });
        let resumed = resumed.transpose()?;
        let options = match &resumed {
            Some((_, checkpoint)) => super::resume::merged(options, &checkpoint.options)?,
            None => options.clone(),
        };
        options.validate(model, data)?;
        let split = data.split("train")?;
        if options.validate {
            data.split("val")?;
        }
        let batches = split.samples.len().div_ceil(options.batch);
        let mut trainer = Trainer::new(model, &objective.tensors()?, &options, options.epochs * batches)?;
        let loss = DetectionLoss::new(model.detector(), &options.gains.for_training(model.detector(), options.size))?;
        let (folder, place, best) = match resumed {
            Some((folder, checkpoint)) => {
                let place = checkpoint.restore(&folder.checkpoint(), &mut trainer)?;
                let best = place.best.map(|_| io::load(folder.best())).transpose()?;
                let best = best.map(|best| best.to_device(&model.device())).transpose()?;
                (Some(folder), place, best)
            }
            None => (options.folder.as_deref().map(RunFolder::create).transpose()?, Place::default(), None),
        };
        Ok(Self {
            pace: Pace::new(&options, batches),
            parts: objective.part_names(),
            earlier: place.seconds,
            data,
            options,
            objective,
            loss,
            trainer,
            batches,
            place,
            best,
            folder,
            began: Instant::now(),
        })
    }

    fn total_steps(&self) -> usize {
        self.options.epochs * self.batches
    }

    fn run(&mut self, progress: &dyn Progress) -> Result<Ended, TrainError> {
        while self.place.epoch < self.options.epochs {
            let lr = match self.epoch(progress)? {
                Ok(lr) => lr,
                Err(ended) => {
                    self.checkpoint()?;
                    return Ok(ended);
                }
            };
            self.close_epoch(lr, progress)?;
            let waited = self.place.best.map(|(_, epoch)| self.place.epoch - epoch);
            if self.options.patience > 0 && waited.is_some_and(|waited| waited >= self.options.patience) {
                progress.note(&format!("no better validation for {} epochs: done", self.options.patience));
                break;
            }
        }
        Ok(Ended::Complete)
    }

    /// The rest of the current epoch; gives the learning rates of its last step, or why the run ends.
    fn epoch(&mut self, progress: &dyn Progress) -> Result<Result<[f32; 3], Ended>, TrainError> {
        let options = BatchOptions {
            size: self.options.size,
            batch: self.options.batch,
            seed: self.options.seed,
            epoch: self.place.epoch as u64,
            augment: self.augment(),
            ..BatchOptions::default()
        };
        let device = self.trainer.model().device();
        let mut rates = self.pace.rates(self.place.epoch, self.place.step);
        self.place.sums.resize(self.parts.len(), 0.0);
        let (began, before) = (Instant::now(), self.place.images);
        // Batches that a resumed run has done are made once more and passed over.
        for batch in Batches::train(self.data.split("train")?, &options)?.skip(self.place.batch) {
            let batch = batch?;
            if progress.stop_requested() {
                return Ok(Err(Ended::Stopped));
            }
            rates = self.pace.rates(self.place.epoch, self.place.step);
            let images = batch.images.to_device(&device)?;
            let share = self.place.step as f64 / self.total_steps() as f64;
            let report = self.trainer.step(&images, &batch.targets, self.objective, &rates, share)?;
            if !report.made {
                let what = if report.total.is_finite() { "gradient" } else { "loss" };
                return Ok(Err(Ended::Diverged { what, lr: rates.lr[1] }));
            }
            let count = batch.origins.len();
            for (sum, &part) in self.place.sums.iter_mut().zip(&report.parts) {
                *sum += f64::from(part) * count as f64;
            }
            self.place.images += count;
            self.place.batch += 1;
            self.place.step += 1;
            let speed = (self.place.images - before) as f64 / began.elapsed().as_secs_f64();
            progress.advance(self.place.step as u64, &self.message(speed));
            let every = self.options.checkpoint_every;
            if every > 0 && self.place.step.is_multiple_of(every) {
                self.checkpoint()?;
            }
        }
        Ok(Ok(rates.lr))
    }

    fn augment(&self) -> Augment {
        let augment = self.options.augment;
        let last = self.place.epoch + self.options.close_mosaic >= self.options.epochs;
        if last { augment.without_mosaic() } else { augment }
    }

    fn losses(&self) -> Vec<f64> {
        self.place.sums.iter().map(|sum| sum / self.place.images.max(1) as f64).collect()
    }

    fn message(&self, images_per_second: f64) -> String {
        let parts = self.parts.iter().zip(self.losses()).map(|(part, loss)| format!(" · {part} {loss:.4}"));
        let parts: String = parts.collect();
        format!("epoch {}/{}{parts} · {images_per_second:.1} images/s", self.place.epoch + 1, self.options.epochs)
    }

    /// Validates, keeps the best, writes the files, and moves on to the next epoch.
    fn close_epoch(&mut self, lr: [f32; 3], progress: &dyn Progress) -> Result<(), TrainError> {
        let losses = self.losses();
        let number = self.place.epoch + 1;
        let averaged = self.averaged(number)?;
        let validation = match self.options.validate || (number == self.options.epochs && self.has_validation()) {
            true => Some(validate(&averaged, self.data, &self.options, &self.loss)?),
            false => None,
        };
        let fitness = validation.as_ref().map(Validation::fitness);
        let better = fitness.filter(|&fitness| self.place.best.is_none_or(|(best, _)| fitness > best));
        if let Some(fitness) = better {
            self.place.best = Some((fitness, number));
            if let Some(folder) = &self.folder {
                folder.save(&averaged, &folder.best())?;
            }
            self.best = Some(averaged.clone());
        }
        progress.note(&self.row(&losses, validation.as_ref(), better.is_some()));
        self.place.history.push(Epoch { epoch: number, seconds: self.seconds(), losses, validation, lr });
        (self.place.epoch, self.place.batch, self.place.images) = (number, 0, 0);
        self.place.sums.clear();
        if let Some(folder) = &self.folder {
            folder.save(&averaged, &folder.last())?;
            folder.save_results(&self.parts, &self.validation_parts(), &self.place.history)?;
        }
        self.checkpoint()
    }

    fn has_validation(&self) -> bool {
        self.data.split("val").is_ok()
    }

    fn row(&self, losses: &[f64], validation: Option<&Validation>, better: bool) -> String {
        let mut row = format!("epoch {:>3}/{}", self.place.epoch + 1, self.options.epochs);
        row.extend(self.parts.iter().zip(losses).map(|(part, loss)| format!("  {part} {loss:.4}")));
        if let Some(found) = validation {
            let [p, r, map50, map] = [found.precision, found.recall, found.map50, found.map];
            row += &format!("  P {p:.3}  R {r:.3}  mAP50 {map50:.3}  mAP50-95 {map:.3}");
        }
        if better { row + "  best" } else { row }
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
        self.place.seconds = self.seconds();
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.checkpoint();
        checkpoint::save(&path, &self.trainer, &self.options, &self.parts, &self.data.name, &self.place)
    }

    fn finish(self, stopped: bool) -> Result<Run, TrainError> {
        let last = self.averaged(self.place.epoch)?;
        Ok(Run {
            model: self.best.clone().unwrap_or_else(|| last.clone()),
            last,
            best: self.place.best.map(|(_, epoch)| epoch),
            validation_parts: self.validation_parts(),
            seconds: self.seconds(),
            parts: self.parts,
            history: self.place.history,
            folder: self.folder.map(|folder| folder.path().to_path_buf()),
            stopped,
        })
    }
}
