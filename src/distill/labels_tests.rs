//! The teacher's boxes as labels: which images get them, where they lie, and what is refused.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{tests::weights, *};
use crate::{
    boxes::iou,
    data::{BatchOptions, Batches, Dataset, Sample, ShapesOptions, SubsetOptions, shapes},
    eval::EvalError,
    io,
    model::{Model, digest},
    progress::{Progress, Silent},
    prune::Tuner,
    train::{FitOptions, Run, with_classes},
};

const SIZE: usize = 160;

fn whole() -> Dataset {
    shapes(&ShapesOptions { train: 10, val: 4, size: SIZE, seed: 9, ..ShapesOptions::default() }).unwrap()
}

/// Four labelled images and six others.
fn data() -> Dataset {
    let mut options = SubsetOptions::default();
    (options.train, options.keep_unlabelled) = (Some(4), true);
    whole().subset(&options).unwrap()
}

fn options(labels: Labels) -> DistillOptions {
    DistillOptions { labels, ..weights(&[("logits", 0.3)]) }
}

fn train(data: &Dataset) -> &[Sample] {
    &data.split("train").unwrap().samples
}

fn distiller(labels: Labels) -> Distiller {
    let teacher = io::teacher().unwrap();
    Distiller::new(&teacher, &teacher, options(labels)).unwrap()
}

/// The share of the shapes that were drawn of which there is a label.
fn found(labelled: &[Sample], drawn: &Dataset) -> f64 {
    let (mut hit, mut all) = (0u32, 0u32);
    for sample in labelled {
        let truth = train(drawn).iter().find(|other| other.source.label() == sample.source.label()).unwrap();
        let (width, height) = (sample.width as f32, sample.height as f32);
        for object in &truth.boxes {
            let same = |label: &&crate::boxes::Truth<_>| {
                let [a, b] = [object, *label].map(|label| label.in_pixels(width, height).bounds);
                label.class == object.class && iou(a, b) > 0.5
            };
            hit += u32::from(sample.boxes.iter().any(|label| same(&label)));
            all += 1;
        }
    }
    f64::from(hit) / f64::from(all)
}

#[test]
fn images_without_labels_get_the_teachers() {
    let (few, whole) = (data(), whole());
    let both = distiller(Labels::Both).label(&few, SIZE, &Silent).unwrap();
    let boxes = |samples: &[Sample]| samples.iter().map(|sample| sample.boxes.clone()).collect::<Vec<_>>();
    assert_eq!((train(&both).len(), both.split("train").unwrap().unlabelled.len()), (10, 0));
    assert_eq!(boxes(&train(&both)[..4]), boxes(train(&few)), "given labels stay");
    let share = found(&train(&both)[4..], &whole);
    assert!(share > 0.6, "the teacher finds {share} of what was drawn");
    let all = distiller(Labels::Teacher).label(&few, SIZE, &Silent).unwrap();
    assert_eq!(boxes(&train(&all)[4..]), boxes(&train(&both)[4..]));
    assert_ne!(boxes(&train(&all)[..4]), boxes(train(&few)));
    let given = distiller(Labels::Given).label(&few, SIZE, &Silent).unwrap();
    assert_eq!((train(&given).len(), given.name.clone()), (4, few.name.clone()));
    assert!(both.name != few.name && both.name != all.name, "a run with other labels is another run");
    // They are moved by mosaic and flips like any others: an epoch of all ten images has boxes of more than four.
    let batch = BatchOptions { size: SIZE, batch: 10, ..BatchOptions::default() };
    let batch = Batches::train(both.split("train").unwrap(), &batch).unwrap().next().unwrap().unwrap();
    let seen: std::collections::BTreeSet<usize> = batch.targets.iter().map(|target| target.image).collect();
    assert!(seen.len() > 6, "{seen:?}");
}

#[test]
fn more_confidence_gives_fewer_labels_and_none_is_an_error() {
    let few = data();
    let count = |conf| {
        let teacher = io::teacher().unwrap();
        let options = DistillOptions { label_conf: conf, ..options(Labels::Teacher) };
        let labelled = Distiller::new(&teacher, &teacher, options).unwrap().label(&few, SIZE, &Silent)?;
        Ok::<_, DistillError>(train(&labelled).iter().map(|sample| sample.boxes.len()).sum::<usize>())
    };
    assert!(count(0.1).unwrap() > count(0.8).unwrap());
    let error = count(1.0).unwrap_err().to_string();
    assert!(error.contains("10 images") && error.contains("label_conf"), "{error}");
}

#[test]
fn classes_are_matched_by_name() {
    let teacher = io::teacher().unwrap();
    let names = ["ring", "circle"].map(String::from).to_vec();
    let student = with_classes(&teacher, &names, 0).unwrap();
    let drawn = ShapesOptions { train: 10, val: 2, size: SIZE, classes: names.clone(), ..ShapesOptions::default() };
    let drawn = shapes(&drawn).unwrap();
    let labelled = Distiller::new(&teacher, &student, options(Labels::Teacher)).unwrap();
    let labelled = labelled.label(&drawn, SIZE, &Silent).unwrap();
    assert!(train(&labelled).iter().flat_map(|sample| &sample.boxes).all(|label| label.class < 2));
    let share = found(train(&labelled), &drawn);
    assert!(share > 0.6, "the teacher finds {share} of what was drawn");
}

/// Asks to stop at once.
struct Stop;

impl Progress for Stop {
    fn stop_requested(&self) -> bool {
        true
    }
}

#[test]
fn labelling_can_be_stopped() {
    let error = distiller(Labels::Both).label(&data(), SIZE, &Stop).unwrap_err();
    assert!(matches!(error, DistillError::Labels(EvalError::Stopped { done: 0, total: 6, .. })), "{error}");
    // A step of gradual pruning takes that for a stop, not for a fault.
    let teacher = io::teacher().unwrap();
    let imitation = Imitation::new(std::slice::from_ref(&teacher), &teacher, options(Labels::Both)).unwrap();
    let fit = FitOptions { size: SIZE, ..FitOptions::default() };
    assert!(imitation.tune(&teacher, &data(), &fit, &Stop).unwrap().is_none());
}

/// Asks to stop when two steps of training are done.
#[derive(Default)]
struct StopLater(AtomicBool, AtomicBool);

impl Progress for StopLater {
    fn start(&self, what: &str, _: Option<u64>) {
        self.0.store(what == "train", Ordering::Relaxed);
    }

    fn advance(&self, done: u64, _: &str) {
        self.1.store(self.0.load(Ordering::Relaxed) && done == 2, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

#[test]
fn a_run_with_the_teachers_labels_is_resumed_to_the_same_weights() {
    let (few, folder) = (data(), tempfile::tempdir().unwrap());
    let fit = |labels, options: &FitOptions, progress: &dyn Progress| -> Result<Run, DistillError> {
        distiller(labels).fit(&few, options, progress)
    };
    let plain = FitOptions { epochs: 2, batch: 4, size: 64, ..FitOptions::default() };
    let whole = fit(Labels::Both, &plain, &Silent).unwrap();
    let kept = FitOptions { folder: Some(folder.path().join("run")), ..plain };
    let stopped = fit(Labels::Both, &kept, &StopLater::default()).unwrap();
    assert!(stopped.stopped);
    let resume = FitOptions { resume: stopped.folder, ..FitOptions::default() };
    let refused = fit(Labels::Given, &resume, &Silent).unwrap_err().to_string();
    assert!(refused.contains("labelled by"), "{refused}");
    let ended = fit(Labels::Both, &resume, &Silent).unwrap();
    let tensors = |model: &Model| digest(model.tensors()).unwrap();
    assert_eq!(tensors(&ended.last), tensors(&whole.last));
}
