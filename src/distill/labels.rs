//! Labels from the teacher: its confident boxes, made once before the training, so that augmentation moves them like any.

use super::{
    classes::match_classes,
    error::DistillError,
    options::{DistillOptions, Labels},
};
use crate::{
    boxes::{Centred, Truth},
    data::{Dataset, Problem, Sample},
    eval::{Detection, EvalError, PredictOptions, Predictor},
    exec::ExecError,
    model::{Model, digest},
    progress::Progress,
};

/// The dataset with the labels that the options ask for in its split `train`: unlabelled images join the others. What the
/// teacher is sure of by more than `label_conf` in an image as it is, fitted into a square of `size` pixels, is labelled;
/// where it is sure of nothing, the image is background. Classes are matched by name; others are dropped.
///
/// # Errors
/// A teacher that does not run or that is sure of nothing at all, or a listener that asks to stop.
pub(super) fn label(
    teacher: &Model,
    student: &Model,
    data: &Dataset,
    options: &DistillOptions,
    size: usize,
    progress: &dyn Progress,
) -> Result<Dataset, DistillError> {
    if options.labels == Labels::Given {
        return Ok(data.clone());
    }
    let split = data.split("train").map_err(EvalError::from)?;
    let replaced = |sample: &Sample| options.labels == Labels::Teacher || !sample.labelled;
    let all = || split.samples.iter().chain(&split.unlabelled);
    let total = all().filter(|sample| replaced(sample)).count();
    if total == 0 {
        progress.note("every image of train has a label file: there is none to be labelled by the teacher");
        return Ok(data.clone());
    }
    let eye = Eye::new(teacher, student, options, size)?;
    let mut made = Made { samples: Vec::new(), problems: split.problems(), done: 0, boxes: 0 };
    progress.start("label", Some(total as u64));
    let outcome = all().try_for_each(|sample| match replaced(sample) {
        false => {
            made.samples.push(sample.clone());
            Ok(())
        }
        true if progress.stop_requested() => {
            Err(EvalError::Stopped { what: "images to be labelled by the teacher", done: made.done, total })
        }
        true => {
            made.add(sample, &eye)?;
            progress.advance(made.done as u64, &format!("{} boxes", made.boxes));
            Ok(())
        }
    });
    progress.finish();
    outcome?;
    if made.samples.iter().all(|sample| sample.boxes.is_empty()) {
        return Err(DistillError::NoLabels { images: total, conf: options.label_conf });
    }
    progress.note(&format!("the teacher labels {total} images of train with {} boxes", made.boxes));
    let whose = match options.labels {
        Labels::Given | Labels::Both => "unlabelled images",
        Labels::Teacher => "all images of train",
    };
    // A run is resumed only with data of the same name.
    let digest = digest(teacher.tensors()).map_err(|error| EvalError::from(ExecError::from(error)))?;
    let name = format!("{} ({whose} labelled by {}… above {})", data.name, &digest[..12], options.label_conf);
    Ok(data.with_train(name, made.samples, Vec::new(), made.problems))
}

/// What has been labelled so far.
struct Made {
    samples: Vec<Sample>,
    problems: Vec<Problem>,
    done: usize,
    boxes: usize,
}

impl Made {
    /// An image that cannot be read is left out and becomes a problem.
    fn add(&mut self, sample: &Sample, eye: &Eye) -> Result<(), EvalError> {
        self.done += 1;
        let image = match sample.image() {
            Ok(image) => image,
            Err(error) => {
                self.problems.push(sample.problem(&error));
                return Ok(());
            }
        };
        let found = eye.predictor.predict(&image)?;
        let boxes: Vec<_> = found.iter().filter_map(|found| eye.truth(found, sample)).collect();
        self.boxes += boxes.len();
        self.samples.push(Sample { boxes, labelled: true, ..sample.clone() });
        Ok(())
    }
}

/// The teacher, ready to look at images.
struct Eye {
    predictor: Predictor,
    /// For each of the teacher's classes, that of the student's of the same name.
    classes: Vec<Option<usize>>,
}

impl Eye {
    fn new(teacher: &Model, student: &Model, options: &DistillOptions, size: usize) -> Result<Self, EvalError> {
        let classes = match_classes(student.detector(), teacher.detector());
        let options = PredictOptions { size, conf: options.label_conf, ..PredictOptions::default() };
        Ok(Self { predictor: Predictor::new(teacher, options)?, classes })
    }

    /// A detection in pixels of the image, as a label; `None` for other classes and boxes without area.
    fn truth(&self, found: &Detection, sample: &Sample) -> Option<Truth<Centred>> {
        let class = self.classes[found.class]?;
        let bounds = Centred::of(found.corners).scaled(1.0 / sample.width as f32, 1.0 / sample.height as f32);
        (bounds.w > 0.0 && bounds.h > 0.0).then_some(Truth { class, bounds })
    }
}
