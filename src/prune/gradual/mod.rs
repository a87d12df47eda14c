//! Gradual pruning: a little goes, the model recovers, and what is left is scored anew.

mod options;
mod record;
mod tuner;

use std::{path::PathBuf, time::Instant};

use super::{
    apply::apply,
    error::PruneError,
    pruner::Pruner,
    ranking::Order,
    recalibrate::{RecalibrateOptions, recalibrate},
    rows::coupled_rows,
    stage::Stage,
};
use crate::{
    data::Dataset,
    eval::{EvalError, EvaluateOptions, evaluate},
    exec::Backend,
    model::{Model, digest},
    options::{OptionError, Options},
    progress::Progress,
    train::{FitOptions, Run, Sparsity},
};
pub use options::{GradualOptions, PruneSchedule};
pub use record::GradualStep;
use record::{Folder, Record};
pub use tuner::{FineTune, TuneError, Tuner};

/// What a gradual pruning came to.
#[derive(Clone, Debug)]
pub struct Gradual {
    /// The model after the last step that kept to the allowed drop, or after the training at the end.
    pub model: Model,
    /// mAP50-95 of the unpruned model on the validation split.
    pub base: f64,
    /// The training at the end, where it came to that.
    pub run: Option<Run>,
    /// The steps, the training at the end among them; the last may be one that fell below the allowed drop.
    pub steps: Vec<GradualStep>,
    /// What is asked for in the end, in words.
    pub asked: String,
    /// Where it is kept, if it is.
    pub folder: Option<PathBuf>,
    /// Whether it ended early because somebody asked it to; it can then be resumed from its folder.
    pub stopped: bool,
}

/// Prunes in steps. Each scores the model anew, removes units, measures the statistics of the normalisations anew, and
/// trains for `tune_epochs`; in the end the model is trained for `epochs` (those of `fit` do not count). Accuracy is that of
/// `val` after each of these. Masks grow by their ratio; those of a pattern or a threshold are complete with the first step.
/// The order `layers` goes from the image on, a run of neighbouring groups each step.
///
/// With `fit.folder` all is kept there; with `fit.resume`, the folder of a pruning that was stopped or killed, that goes on,
/// with the options that it began with. The pruner, the data and the tuner must be the same.
///
/// # Errors
/// Options out of range, an amount that cannot be met, data that cannot be read or does not fit the model, those of the
/// tuner, a folder that is of another pruning.
pub fn gradual(
    pruner: &Pruner,
    data: &Dataset,
    options: &GradualOptions,
    fit: &FitOptions,
    tuner: &dyn Tuner,
    progress: &dyn Progress,
) -> Result<Gradual, PruneError> {
    options.check()?;
    if !pruner.options().granularity.removes_channels() && pruner.options().order == Order::Layers {
        let expected = "\"lowest\" or \"highest\", for all but granularities channel and filter";
        return Err(OptionError::value("order", expected, "\"layers\"").into());
    }
    let fit = FitOptions { epochs: FitOptions::default().epochs, ..fit.clone() };
    fit.check()?;
    if fit.sparsity == Some(Sparsity::Growing) {
        let expected = "another way in gradual pruning, which decides anew at every step what goes";
        return Err(OptionError::value("sparsity", expected, "\"growing\"").into());
    }
    let (folder, record) = match &fit.resume {
        Some(path) => {
            let (folder, record) = Folder::open(path)?;
            same(&record, pruner, data, tuner, path)?;
            (folder, record)
        }
        None => (Folder::create(fit.folder.as_deref())?, begin(pruner, data, options, &fit, tuner)?),
    };
    Steps { pruner, data, tuner, progress, folder, record, backend: fit.backend, end: None }.run()
}

/// What is recorded before the first step.
fn begin(
    pruner: &Pruner,
    data: &Dataset,
    options: &GradualOptions,
    fit: &FitOptions,
    tuner: &dyn Tuner,
) -> Result<Record, PruneError> {
    Ok(Record {
        model: digest(pruner.model().tensors())?,
        dataset: data.name.clone(),
        pruner: pruner.options().clone(),
        tuner: tuner.name(),
        options: options.clone(),
        fit: FitOptions { folder: None, resume: None, ..fit.clone() },
        base: None,
        counts: None,
        steps: Vec::new(),
        pending: None,
        fell: false,
    })
}

/// Whether a recorded pruning is of this pruner, data and tuner.
fn same(
    record: &Record,
    pruner: &Pruner,
    data: &Dataset,
    tuner: &dyn Tuner,
    path: &std::path::Path,
) -> Result<(), PruneError> {
    let differs = [
        ("model", record.model != digest(pruner.model().tensors())?),
        ("pruner's options", record.pruner != *pruner.options()),
        ("dataset", record.dataset != data.name),
        ("way of training", record.tuner != tuner.name()),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        Some((what, _)) => {
            let reason = format!("it was begun with another {what}; give the same, or begin anew without `resume`");
            Err(PruneError::File { path: path.to_owned(), reason })
        }
        None => Ok(()),
    }
}

/// A gradual pruning while it goes on.
struct Steps<'a> {
    pruner: &'a Pruner,
    data: &'a Dataset,
    tuner: &'a dyn Tuner,
    progress: &'a dyn Progress,
    folder: Folder,
    record: Record,
    /// What runs the training; not recorded.
    backend: Option<Backend>,
    /// The training at the end.
    end: Option<Run>,
}

/// Work that may have been stopped: then there is nothing.
type MaybeStopped<T> = Result<Option<T>, PruneError>;

impl Steps<'_> {
    fn run(mut self) -> Result<Gradual, PruneError> {
        let mut model = match self.kept_step() {
            0 => self.pruner.model().clone(),
            step => self.load(&step_name(step))?,
        };
        self.folder.keep(&self.record)?;
        if self.record.base.is_none() {
            let Some(base) = self.accuracy(&model)? else { return Ok(self.finish(model, true)) };
            self.record.base = Some(base);
            self.folder.keep(&self.record)?;
        }
        while !self.record.fell && self.record.steps.len() < self.record.options.steps {
            let name = step_name(self.record.steps.len() + 1);
            let Some((next, step)) = self.step(&model, &name)? else { return Ok(self.finish(model, true)) };
            self.progress.note(&self.line(&step));
            let base = self.record.base.unwrap_or_default();
            self.record.fell = self.record.options.stop_at_drop.is_some_and(|drop| step.accuracy() < base - drop);
            self.folder.save(&name, &next)?;
            self.record.steps.push(step);
            self.record.pending = None;
            self.folder.keep(&self.record)?;
            if !self.record.fell {
                model = next;
            }
        }
        let trained = self.record.steps.last().is_some_and(|step| step.step.is_none());
        if self.record.options.epochs > 0 && self.kept_step() > 0 && !trained {
            let Some(last) = self.train_on(&model)? else { return Ok(self.finish(model, true)) };
            model = last;
        } else if trained {
            if self.folder.has_training(END) {
                // A complete run, which only gives its models and history.
                self.end = self.tune(&model, END, self.record.options.epochs)?.map(|(run, _)| run);
            }
            model = self.load("final")?;
        }
        Ok(self.finish(model, false))
    }

    /// The training at the end.
    fn train_on(&mut self, model: &Model) -> MaybeStopped<Model> {
        let began = Instant::now();
        let shares = self.shares(model)?;
        let Some(before) = self.accuracy(model)? else { return Ok(None) };
        let Some((run, tuned)) = self.tune(model, END, self.record.options.epochs)? else { return Ok(None) };
        let last = run.last.clone();
        self.end = Some(run);
        let step = GradualStep { pruned: before, tuned: Some(tuned), seconds: began.elapsed().as_secs_f64(), ..shares };
        self.progress.note(&self.line(&step));
        self.folder.save("final", &last)?;
        self.record.steps.push(step);
        self.folder.keep(&self.record)?;
        Ok(Some(last))
    }

    /// One step from `model`: the model after it, and what it came to.
    fn step(&mut self, model: &Model, name: &str) -> MaybeStopped<(Model, GradualStep)> {
        let began = Instant::now();
        let ready = format!("{name}-pruned");
        let (mut pruned, mut row) = match self.record.pending.clone() {
            Some(row) => (self.load(&ready)?, row),
            None => {
                let number = self.record.steps.len() + 1;
                let stage = match self.stage(number) {
                    Err(error) if stopped(&error) => return Ok(None),
                    stage => stage?,
                };
                let plan =
                    self.pruner.at(model, &stage, self.progress).and_then(|pruner| pruner.plan_with(self.progress));
                let pruned = match plan {
                    Err(error) if stopped(&error) => return Ok(None),
                    plan => apply(model, &plan?)?,
                };
                let Some(accuracy) = self.accuracy(&pruned)? else { return Ok(None) };
                let row = GradualStep { step: Some(number), pruned: accuracy, ..self.shares(&pruned)? };
                (pruned, row)
            }
        };
        let images = self.record.options.recalibrate;
        if self.record.pending.is_none() && images > 0 {
            let FitOptions { size, batch, seed, .. } = self.record.fit;
            let options = RecalibrateOptions { images, size, batch, seed, ..RecalibrateOptions::default() };
            pruned = recalibrate(&pruned, self.data, &options, self.progress)?;
            if self.progress.stop_requested() {
                return Ok(None);
            }
            let Some(accuracy) = self.accuracy(&pruned)? else { return Ok(None) };
            row.recalibrated = Some(accuracy);
        }
        row.seconds += began.elapsed().as_secs_f64();
        self.folder.save(&ready, &pruned)?;
        self.record.pending = Some(row.clone());
        self.folder.keep(&self.record)?;
        let epochs = self.record.options.tune_epochs;
        if epochs == 0 {
            return Ok(Some((pruned, row)));
        }
        let tuning = Instant::now();
        let Some((run, accuracy)) = self.tune(&pruned, &format!("{name}-run"), epochs)? else { return Ok(None) };
        row.tuned = Some(accuracy);
        row.seconds += tuning.elapsed().as_secs_f64();
        Ok(Some((run.last, row)))
    }

    /// How far step `number` goes.
    fn stage(&mut self, number: usize) -> Result<Stage, PruneError> {
        let (options, amount) = (&self.record.options, self.pruner.options().amount);
        if self.pruner.options().order != Order::Layers {
            let gone = options.schedule.gone(number as f64 / options.steps as f64, amount.stays());
            return Ok(Stage::Amount { amount: amount.partly(gone), gone });
        }
        let counts = match self.record.counts.clone() {
            Some(counts) => counts,
            None => self.pruner.counts(self.progress)?,
        };
        self.record.counts = Some(counts.clone());
        let full = self.pruner.groups().all().iter().map(|group| group.coupled.len());
        let total = full.clone().zip(&counts).filter(|(full, kept)| full > kept).count();
        let mut before = 0;
        let so_far = full.zip(counts).map(|(full, kept)| {
            before += usize::from(kept < full);
            // The runs of groups are of equal length, up to one.
            if before * self.record.options.steps <= number * total { kept } else { full }
        });
        Ok(Stage::Counts(so_far.collect()))
    }

    /// Trains, and gives the run with the accuracy after its last step.
    fn tune(&self, model: &Model, name: &str, epochs: usize) -> MaybeStopped<(Run, f64)> {
        let mut options = self.folder.training(name, &FitOptions { epochs, ..self.record.fit.clone() })?;
        options.backend = self.backend;
        if self.record.fit.sparsity == Some(Sparsity::GroupLasso) {
            options.rows = Some(coupled_rows(model)?);
        }
        let run = self.tuner.tune(model, self.data, &options, self.progress).map_err(PruneError::Tune)?;
        let Some(run) = run.filter(|run| !run.stopped) else { return Ok(None) };
        let known = run.history.last().and_then(|epoch| epoch.validation.as_ref()).map(|found| found.map);
        let accuracy = match known {
            Some(accuracy) => Some(accuracy),
            None => self.accuracy(&run.last)?,
        };
        Ok(accuracy.map(|accuracy| (run, accuracy)))
    }

    /// mAP50-95 on the validation split.
    fn accuracy(&self, model: &Model) -> MaybeStopped<f64> {
        let options = EvaluateOptions { size: self.record.fit.size, ..EvaluateOptions::default() };
        match evaluate(model, self.data, &options, self.progress) {
            Ok(metrics) => Ok(Some(metrics.scores.overall.map)),
            Err(EvalError::Stopped { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A row that says what is left of the unpruned model, and nothing else yet.
    fn shares(&self, model: &Model) -> Result<GradualStep, PruneError> {
        let size = self.pruner.options().size;
        let (now, whole) = (model.cost(size)?, self.pruner.model().cost(size)?);
        Ok(GradualStep {
            step: None,
            macs: now.macs as f64 / whole.macs.max(1) as f64,
            params: now.params as f64 / whole.params.max(1) as f64,
            zeros: model.sparsity()?,
            pruned: 0.0,
            recalibrated: None,
            tuned: None,
            seconds: 0.0,
        })
    }

    /// The last step whose model counts; 0 for the unpruned model.
    fn kept_step(&self) -> usize {
        let steps = self.record.steps.iter().filter(|step| step.step.is_some()).count();
        steps - usize::from(self.record.fell)
    }

    fn load(&self, name: &str) -> Result<Model, PruneError> {
        let missing = || PruneError::File { path: PathBuf::from(name), reason: "the pruning has no folder".into() };
        self.folder.load(name, self.pruner.model())?.ok_or_else(missing)
    }

    fn line(&self, step: &GradualStep) -> String {
        let name = step.step.map_or("end".to_owned(), |number| format!("step {number}/{}", self.record.options.steps));
        let part = |what: &str, value: Option<f64>| value.map_or(String::new(), |value| format!("  {what} {value:.3}"));
        format!(
            "{name}  {:.1} % of the MACs{}{}{}",
            100.0 * step.macs,
            part("pruned", Some(step.pruned)),
            part("recalibrated", step.recalibrated),
            part("tuned", step.tuned)
        )
    }

    fn finish(self, model: Model, stopped: bool) -> Gradual {
        Gradual {
            model,
            run: self.end,
            base: self.record.base.unwrap_or(f64::NAN),
            steps: self.record.steps,
            asked: self.record.pruner.to_string(),
            folder: self.folder.0,
            stopped,
        }
    }
}

/// Where the training at the end is kept.
const END: &str = "final-run";

fn step_name(step: usize) -> String {
    format!("step-{step}")
}

fn stopped(error: &PruneError) -> bool {
    matches!(error, PruneError::Stopped { .. } | PruneError::Measure(EvalError::Stopped { .. }))
}
