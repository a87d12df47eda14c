//! Gradual pruning: what it ends with, and that it goes on where it was stopped.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{tests::loose, *};
use crate::{
    data::{Dataset, ShapesOptions, shapes},
    io,
    model::{Model, digest},
    options::ByPattern,
    progress::{Progress, Silent},
    train::{FitOptions, Run},
};

fn data() -> Dataset {
    shapes(&ShapesOptions { train: 16, val: 8, size: 64, ..ShapesOptions::default() }).unwrap()
}

fn options(steps: usize, tune_epochs: usize) -> GradualOptions {
    GradualOptions { steps, tune_epochs, epochs: tune_epochs, recalibrate: 16, ..GradualOptions::default() }
}

fn training(folder: Option<&Path>) -> FitOptions {
    FitOptions { batch: 8, size: 64, folder: folder.map(Path::to_owned), ..FitOptions::default() }
}

fn pruner(model: &Model, options: PruneOptions) -> Pruner {
    Pruner::new(model, options).unwrap()
}

#[test]
fn the_last_step_has_what_was_asked_for() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    for amount in [Amount::Macs(0.5), Amount::Params(0.5), Amount::Ratio(0.4)] {
        for schedule in PruneSchedule::ALL {
            let pruner = pruner(&teacher, PruneOptions { round_to: 1, ..loose(amount) });
            let options = GradualOptions { schedule, ..options(3, 0) };
            let found = gradual(&pruner, &data, &options, &training(None), &FineTune, &Silent).unwrap();
            let at_once = pruner.prune().unwrap();
            let cost = |model: &Model| model.cost(64).unwrap();
            let apart = |a: u64, b: u64| (a as f64 / b as f64 - 1.0).abs();
            match amount {
                Amount::Params(_) => assert!(apart(cost(&found.model).params, cost(&at_once).params) < 0.01),
                Amount::Macs(_) => assert!(apart(cost(&found.model).macs, cost(&at_once).macs) < 0.01),
                _ => assert!(apart(cost(&found.model).params, cost(&at_once).params) < 0.1),
            }
            assert!(found.steps.is_sorted_by(|a, b| a.macs > b.macs) && found.steps.len() == 3, "{schedule}");
            assert!(found.steps.iter().all(|step| step.tuned.is_none() && step.recalibrated.is_some()));
            assert!(!found.stopped && found.folder.is_none() && found.base > 0.0);
        }
    }
}

#[test]
fn layers_go_from_the_image_on_and_keep_what_they_will() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let options_of = |order| PruneOptions { order, ..loose(Amount::Macs(0.6)) };
    let wanted = pruner(&teacher, options_of(Order::Lowest)).prune().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fit = training(Some(&folder.path().join("layers")));
    let layers = pruner(&teacher, options_of(Order::Layers));
    let found = gradual(&layers, &data, &options(4, 0), &fit, &FineTune, &Silent).unwrap();
    assert_eq!(found.model.graph().channels().unwrap(), wanted.graph().channels().unwrap());
    // After the first step only the front of the network is narrower.
    let first = io::load(folder.path().join("layers/step-1.safetensors")).unwrap();
    let widths = |model: &Model| -> Vec<usize> {
        model.graph().nodes().iter().filter_map(|node| Some(node.op.as_conv()?.out_channels)).collect()
    };
    let narrower: Vec<bool> =
        widths(&teacher).iter().zip(widths(&first)).map(|(&before, after)| after < before).collect();
    let half = narrower.len() / 2;
    assert!(narrower[..half].contains(&true) && !narrower[half..].contains(&true), "{narrower:?}");
}

#[test]
fn limits_and_ratios_are_those_of_the_unpruned_model() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let of = |options_of: PruneOptions| {
        let run = gradual(&pruner(&teacher, options_of), &data, &options(3, 0), &training(None), &FineTune, &Silent);
        run.unwrap().model.graph().channels().unwrap()
    };
    let before = teacher.graph().channels().unwrap();
    let limited = of(PruneOptions { max_ratio: 0.5.into(), scope: Scope::Global, ..loose(Amount::Macs(0.45)) });
    assert!(before.iter().zip(&limited).all(|(before, after)| after * 2 >= *before), "{before:?} {limited:?}");
    let ratios = ByPattern::from([("model.1", 0.5)]);
    let id = teacher.graph().find("model.1.conv").unwrap();
    let fixed = of(PruneOptions { ratios, ..loose(Amount::Ratios) });
    assert_eq!(fixed[id] * 2, before[id]);
}

#[test]
fn it_ends_with_the_last_step_that_did_not_fall_too_deep() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let pruner = pruner(&teacher, loose(Amount::Macs(0.1)));
    let options = GradualOptions { stop_at_drop: Some(0.0), schedule: PruneSchedule::Linear, ..options(4, 0) };
    let found = gradual(&pruner, &data, &options, &training(None), &FineTune, &Silent).unwrap();
    let fell = found.steps.last().unwrap();
    assert!(fell.accuracy() < found.base && found.steps.len() < 4, "{:?}", found.steps);
    let macs = found.model.cost(64).unwrap().macs as f64 / teacher.cost(64).unwrap().macs as f64;
    assert!(macs > fell.macs + 0.01);
}

/// Asks to stop after so many questions whether to.
struct StopAfter(AtomicUsize);

impl Progress for StopAfter {
    fn stop_requested(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1))) == Ok(0)
    }
}

#[test]
fn what_was_stopped_goes_on_and_ends_the_same() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let pruner = pruner(&teacher, loose(Amount::Macs(0.6)));
    let folder = tempfile::tempdir().unwrap();
    let run = |fit: &FitOptions, progress: &dyn Progress| {
        gradual(&pruner, &data, &options(2, 1), fit, &FineTune, progress).unwrap()
    };
    let whole = run(&training(None), &Silent);
    assert_eq!(whole.steps.iter().map(|step| step.step).collect::<Vec<_>>(), [Some(1), Some(2), None]);
    let mut stops = 0;
    let wanted = folder.path().join("run");
    let mut fit = training(Some(&wanted));
    let ended = loop {
        let found = run(&fit, &StopAfter(AtomicUsize::new(4 + stops)));
        if !found.stopped {
            break found;
        }
        stops += 1;
        assert!(stops < 40, "it never ends");
        fit = FitOptions { resume: found.folder, ..FitOptions::default() };
    };
    assert!(stops >= 2, "{stops}");
    let tensors = |model: &Model| digest(model.tensors()).unwrap();
    assert_eq!(tensors(&ended.model), tensors(&whole.model));
    let rows = |found: &Gradual| {
        found.steps.iter().map(|step| GradualStep { seconds: 0.0, ..step.clone() }).collect::<Vec<_>>()
    };
    assert_eq!(rows(&ended), rows(&whole));
    // Once more from the end gives the same; another pruner is refused.
    assert_eq!(tensors(&run(&fit, &Silent).model), tensors(&whole.model));
    let other = Pruner::new(&teacher, loose(Amount::Macs(0.7))).unwrap();
    let refused = gradual(&other, &data, &options(2, 1), &fit, &FineTune, &Silent).unwrap_err().to_string();
    assert!(refused.contains("pruner's options"), "{refused}");
}

/// Is stopped while it prepares its data.
struct Unprepared;

impl Tuner for Unprepared {
    fn name(&self) -> String {
        "unprepared".into()
    }

    fn tune(&self, _: &Model, _: &Dataset, _: &FitOptions, _: &dyn Progress) -> Result<Option<Run>, TuneError> {
        Ok(None)
    }
}

#[test]
fn a_tuner_that_is_stopped_before_it_trains_ends_it_as_one_that_trains() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let pruner = pruner(&teacher, loose(Amount::Macs(0.6)));
    let found = gradual(&pruner, &data, &options(2, 1), &training(None), &Unprepared, &Silent).unwrap();
    assert!(found.stopped && found.steps.is_empty());
}

#[test]
fn branches_go_by_steps() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let wanted = PruneOptions { granularity: Granularity::Depth, ..loose(Amount::Ratio(0.6)) };
    let options_of = crate::eval::ActivationOptions { size: 64, images: 8, batch: 4, split: "train".into() };
    let pruner = pruner(&teacher, wanted).with_data(PruneData { dataset: data.clone(), options: options_of });
    let found = gradual(&pruner, &data, &options(2, 0), &training(None), &FineTune, &Silent).unwrap();
    let left = |model: &Model| branches(model.graph()).len();
    assert!(left(&teacher) > 1 && left(&found.model) < left(&teacher));
    assert_eq!(left(&found.model), left(&pruner.prune().unwrap()));
}

#[test]
fn every_step_is_judged_by_the_pruners_own_criterion() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    // The opposite of the default: the largest go first.
    let own = OwnCriterion::new(|group: &GroupScores| Ok(group.scores["group_l2"].iter().map(|norm| -norm).collect()));
    let pruner = Pruner::with_criterion(&teacher, loose(Amount::Ratio(0.3)), own).unwrap();
    let found = gradual(&pruner, &data, &options(2, 0), &training(None), &FineTune, &Silent).unwrap();
    let params = |model: &Model| model.cost(64).unwrap().params as f64;
    assert!((params(&found.model) / params(&pruner.prune().unwrap()) - 1.0).abs() < 0.1);
    // What is left of the first convolution's filters has the least of them.
    let norms = |model: &Model| {
        let (id, _) = model.convolutions().next().unwrap();
        let weight = &model.tensors()[&model.graph().node(id).tensor_name("weight")];
        let squares = weight.sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
        squares.iter().sum::<f32>() / squares.len() as f32
    };
    assert!(norms(&found.model) < norms(&teacher));
}

#[test]
fn masks_grow_by_steps_to_what_was_asked_for() {
    let (teacher, data) = (io::teacher().unwrap(), data());
    let weights = |order| {
        let (granularity, amount) = (Granularity::Weight, Amount::Ratio(0.6));
        PruneOptions { granularity, amount, order, size: 64, ..PruneOptions::default() }
    };
    let masks = weights(Order::Lowest);
    let pruner = pruner(&teacher, masks);
    let found = gradual(&pruner, &data, &options(3, 0), &training(None), &FineTune, &Silent).unwrap();
    let zeros: Vec<f64> = found.steps.iter().map(|step| step.zeros).collect();
    assert!(zeros.is_sorted_by(|a, b| a < b) && (zeros[2] - 0.6).abs() < 0.01, "{zeros:?}");
    assert!((found.model.sparsity().unwrap() - pruner.prune().unwrap().sparsity().unwrap()).abs() < 1e-9);
    let layers = weights(Order::Layers);
    let refused = Pruner::new(&teacher, layers).unwrap();
    let refused =
        gradual(&refused, &data, &options(3, 0), &training(None), &FineTune, &Silent).unwrap_err().to_string();
    assert!(refused.contains("\"order\""), "{refused}");
}
