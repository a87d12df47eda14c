//! Teachers and a student, and the student's training.

use std::sync::Arc;

use serde_json::Value;

use super::{
    average::{Follow, OwnAverage},
    balance::{Balance, Keeper, Weighed},
    cache::Cache,
    error::DistillError,
    features::{self, FeaturePair},
    labels::label,
    options::{DistillOptions, decimal},
    pair::{Pair, check},
    part::part_name,
    terms::{Made, TermInfo, wanted},
    timing::Timed,
};
use crate::{
    data::{Augment, Dataset},
    eval::{BenchOptions, BenchReport, EvalError},
    model::Model,
    options::Options as _,
    progress::Progress,
    train::{
        DetectionTerm, FitOptions, Hook, Objective, Run, Setup, Term, bench, effective_options, fit_with, loss::Gains,
    },
};

/// What a distillation step minimises: the detection loss with these weights, and every term of
/// [`TERMS`](super::TERMS) whose weight is above 0. The teacher is run once a batch for all of them.
///
/// # Errors
/// Where teacher and student have nothing to compare, or an option is out of its range.
pub fn objective(
    teacher: &Model,
    student: &Model,
    options: &DistillOptions,
    gains: &Gains,
) -> Result<Objective, DistillError> {
    Ok(Task::new(std::slice::from_ref(teacher), student, options, gains)?.objective)
}

/// What is minimised, and what its terms share where there is that.
struct Task {
    objective: Objective,
    balance: Option<Arc<Balance>>,
    average: Option<Arc<OwnAverage>>,
    cache: Option<Arc<Cache>>,
}

impl Task {
    fn new(teachers: &[Model], student: &Model, options: &DistillOptions, gains: &Gains) -> Result<Self, DistillError> {
        options.check()?;
        let wanted = wanted(options)?;
        let first = teachers.first().unwrap_or(student);
        teachers.iter().try_for_each(|teacher| check(teacher, student))?;
        let levels = wanted.iter().map(|(_, _, made)| match made.recipe.taps() {
            Some(taps) => features::choose(first, student, taps),
            None => Ok(Vec::new()),
        });
        let levels = levels.collect::<Result<Vec<Vec<FeaturePair>>, _>>()?;
        let mut taps: Vec<_> = levels.iter().flatten().map(|level| level.teacher).collect();
        taps.sort_unstable();
        taps.dedup();
        let pair = Pair::new(teachers, student, options, gains, &taps)?;
        let shares = || {
            let share = |weight: f32| f64::from(weight) * options.balance;
            wanted.iter().map(|(info, weight, _)| (part_name(info.name), share(*weight))).collect()
        };
        let balance = (options.balance > 0.0).then(|| Arc::new(Balance::new(shares())));
        let detection = DetectionTerm::new(student.detector(), gains)?;
        let mut terms: Vec<Arc<dyn Term>> = vec![match &balance {
            Some(balance) => Arc::new(Weighed { term: detection, balance: Arc::clone(balance) }),
            None => Arc::new(detection),
        }];
        for (place, ((info, weight, made), levels)) in wanted.iter().zip(&levels).enumerate() {
            // A balanced term's weight is in its share.
            let factor = if balance.is_some() { 1.0 } else { *weight };
            terms.push(Arc::new(Timed {
                term: made.recipe.make(&pair, levels, factor)?,
                timing: made.timing,
                balance: balance.as_ref().map(|balance| (Arc::clone(balance), place)),
                settings: settings(info, *weight, made, &pair),
            }));
        }
        let (average, cache) = (pair.average.clone(), pair.cache.clone());
        Ok(Self { objective: Objective::new(terms), balance, average, cache })
    }

    fn hooks(&self) -> Vec<Box<dyn Hook>> {
        let keeper = |balance: &Arc<Balance>| -> Box<dyn Hook> {
            Box::new(Keeper { balance: Arc::clone(balance), shown: false })
        };
        let follow = |average: &Arc<OwnAverage>| -> Box<dyn Hook> { Box::new(Follow(Arc::clone(average))) };
        self.balance.iter().map(keeper).chain(self.average.iter().map(follow)).collect()
    }
}

/// All that decides a term: its options, what the distiller's own options give it, the teachers.
fn settings(info: &TermInfo, weight: f32, made: &Made, pair: &Pair<'_>) -> Value {
    let mut settings = serde_json::Map::new();
    settings.insert("weight".into(), decimal(weight).into());
    for (key, value) in &made.entries {
        let value = value.clone().or_else(|| info.inherited(key, pair.options));
        settings.insert((*key).into(), serde_json::to_value(value).unwrap_or(Value::Null));
    }
    settings.insert("balance".into(), pair.options.balance.into());
    settings.insert("teacher (SHA-256)".into(), pair.digest.clone().into());
    settings.into()
}

/// One or several teachers and a student.
#[derive(Clone, Debug)]
pub struct Distiller {
    teachers: Vec<Model>,
    student: Model,
    options: DistillOptions,
}

impl Distiller {
    /// Pairs a teacher with a student.
    ///
    /// # Errors
    /// Where the two have nothing to compare, or an option is out of its range.
    pub fn new(teacher: &Model, student: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        Self::of_several(std::slice::from_ref(teacher), student, options)
    }

    /// Pairs several teachers with a student. Their outputs are averaged: probabilities and distributions, each class over
    /// the teachers that know a class of that name. Features are compared with the first's, whose boxes are also the labels
    /// where [`Labels`](super::Labels) asks for a teacher's.
    ///
    /// # Errors
    /// As [`Distiller::new`], where there is no teacher, and where the heads of several differ in more than their classes.
    pub fn of_several(teachers: &[Model], student: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        if teachers.is_empty() { Err(DistillError::NoTeacher) } else { Self::of(teachers, student, options) }
    }

    /// A student that the average of its own weights teaches: the mean teacher of Tarvainen and Valpola 2017.
    ///
    /// # Errors
    /// For terms and options that need another teacher, or are out of their range.
    pub fn of_own_average(student: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        Self::of(&[], student, options)
    }

    /// Of these teachers, or of the student's own average where there are none.
    pub(super) fn of(teachers: &[Model], student: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        if teachers.is_empty() && options.cache.is_some() {
            return Err(DistillError::CacheMoving);
        }
        // What does not fit is found now, not when the training begins.
        Task::new(teachers, student, &options, &Gains::default())?;
        Ok(Self { teachers: teachers.to_vec(), student: student.clone(), options })
    }

    /// The models that are imitated; none where the student's own average teaches it.
    pub fn teachers(&self) -> &[Model] {
        &self.teachers
    }

    /// The model that is trained.
    pub fn student(&self) -> &Model {
        &self.student
    }

    /// Weights and temperatures.
    pub fn options(&self) -> &DistillOptions {
        &self.options
    }

    /// The dataset with the labels that the student is trained with at `size` pixels; see [`Labels`](super::Labels). Without
    /// a teacher they are those that the student gives before it is trained.
    ///
    /// # Errors
    /// A teacher that does not run or that is sure of nothing at all, or a listener that asks to stop.
    pub fn label(&self, data: &Dataset, size: usize, progress: &dyn Progress) -> Result<Dataset, DistillError> {
        label(self.teachers.first().unwrap_or(&self.student), &self.student, data, &self.options, size, progress)
    }

    /// Trains the student; everything but the objective and the labels is as in [`crate::train::fit`].
    ///
    /// # Errors
    /// As [`crate::train::fit`] and [`Distiller::label`], and a term that looks at labelled boxes where there are none.
    pub fn fit(&self, data: &Dataset, options: &FitOptions, progress: &dyn Progress) -> Result<Run, DistillError> {
        let options = effective_options(options)?;
        options.validate(&self.student, data)?;
        let task = self.task(&options.gains, options.size)?;
        if task.average.is_some() && !options.ema {
            return Err(DistillError::NoAverage);
        }
        if task.cache.is_some() && options.augment != Augment::none() {
            return Err(DistillError::CacheAugmented);
        }
        let data = self.label(data, options.size, progress)?;
        self.check_boxes(&data)?;
        let run = fit_with(&self.student, &data, &options, &task.objective, &mut task.hooks(), progress)?;
        task.cache.iter().for_each(|cache| progress.note(&cache.summary()));
        let (teachers, imitation) = (self.teachers.clone(), self.options.shown());
        let setup = Setup { teachers, imitation, ..Setup::clone(&run.setup) };
        Ok(Run { setup: Arc::new(setup), ..run })
    }

    /// Times steps of the training, as [`crate::train::bench`]; the teacher looks at each batch, whatever may be kept of it.
    ///
    /// # Errors
    /// As [`crate::train::bench`].
    pub fn bench(&self, options: &BenchOptions, progress: &dyn Progress) -> Result<BenchReport, DistillError> {
        let uncached = Self { options: DistillOptions { cache: None, ..self.options.clone() }, ..self.clone() };
        let task = uncached.task(&Gains::default(), options.size)?;
        Ok(bench(&self.student, &task.objective, options, progress)?)
    }

    /// Checks that terms that look at labelled boxes have some.
    fn check_boxes(&self, data: &Dataset) -> Result<(), DistillError> {
        let split = data.split("train").map_err(EvalError::from)?;
        if split.samples.iter().any(|sample| !sample.boxes.is_empty()) {
            return Ok(());
        }
        match wanted(&self.options)?.iter().find(|(_, _, made)| made.recipe.needs_boxes()) {
            Some((info, ..)) => Err(DistillError::NoBoxes { term: info.name, data: data.name.clone() }),
            None => Ok(()),
        }
    }

    fn task(&self, gains: &Gains, size: usize) -> Result<Task, DistillError> {
        let gains = gains.for_training(self.student.detector(), size);
        Task::new(&self.teachers, &self.student, &self.options, &gains)
    }
}
