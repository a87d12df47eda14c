//! What is asked of pruning, on real checkpoints and fresh models.

use candle_core::{Device, Tensor};

use super::{
    tests::{WITHOUT_DATA, difference, images},
    *,
};
use crate::{
    graph::Op,
    io,
    model::Model,
    testing::shared,
    zoo::{self, Fresh},
};

const CHECKPOINTS: [&str; 3] = ["yolov5n-coco", "yolov5n-bccd", "yolov8n-bccd"];

/// All checkpoints that are there, and fresh models.
fn models() -> Vec<Model> {
    let files = CHECKPOINTS.iter().filter_map(|name| shared(&format!("models/{name}.pt")));
    let mut models: Vec<Model> = files.map(|path| io::load(path).unwrap()).collect();
    let published = Fresh::numbered(80);
    let narrow = Fresh { width: Some(0.125), ..Fresh::numbered(4) };
    // Statistics of a batch, so that signals reach the outputs.
    let fresh = |name, options| recalibrate_on(&zoo::yolo(name, options).unwrap(), [Ok(images(64))]).unwrap();
    models.extend(["yolov5s", "yolov8s"].map(|name| fresh(name, &narrow)));
    models.extend(["yolov5n", "yolov8n"].map(|name| fresh(name, &published)));
    models
}

#[test]
fn removing_equals_zeroing_in_every_model() {
    for (index, model) in models().iter().enumerate() {
        for (seed, scope) in [(1, Scope::Local), (2, Scope::Global)] {
            let options = PruneOptions {
                importance: Some("random".into()),
                scope,
                seed: seed + 10 * index as u64,
                amount: Amount::Ratio(0.4),
                ..PruneOptions::default()
            };
            let plan = Pruner::new(model, options).unwrap().plan().unwrap();
            let (pruned, zeroed) = (apply(model, &plan).unwrap(), zero(model, &plan).unwrap());
            let apart = difference(&zeroed, &pruned, 64);
            assert!(apart <= 1e-4, "{}: {apart}", model.provenance().name);
            assert!(difference(model, &pruned, 64) > 1e-3);
        }
    }
}

#[test]
fn targets_are_met_within_half_a_percent() {
    let of_half = WITHOUT_DATA.map(|importance| (importance, 0.5));
    let asked: Vec<_> = of_half.into_iter().chain([("l2", 0.3), ("l2", 0.7)]).collect();
    for model in models() {
        for (&(importance, share), scope) in asked.iter().flat_map(|ask| [(ask, Scope::Local), (ask, Scope::Global)]) {
            let of = |amount| {
                let importance = Some(importance.to_owned());
                let options = PruneOptions { importance, scope, amount, ..PruneOptions::default() };
                Pruner::new(&model, options).unwrap().plan().unwrap().report(&model).unwrap()
            };
            let what = format!("{} {scope} {importance} {share}", model.provenance().name);
            let macs = of(Amount::Macs(share)).macs_share();
            assert!((macs - share).abs() <= 0.005, "{what}: {macs}");
            let params = of(Amount::Params(share)).params_share();
            assert!((params - share).abs() <= 0.005, "{what}: {params}");
        }
    }
}

#[test]
fn filters_score_as_pytorch_says() {
    for name in CHECKPOINTS {
        let (Some(file), Some(golden)) =
            (shared(&format!("models/{name}.pt")), shared(&format!("goldens/{name}.safetensors")))
        else {
            return;
        };
        let model = io::load(file).unwrap();
        let groups = Groups::of(model.graph()).unwrap();
        let context = Context {
            model: &model,
            groups: &groups,
            granularity: Granularity::Channel,
            threshold: 1e-3,
            seed: 0,
            measured: &Measured::default(),
        };
        let golden = candle_core::safetensors::load(golden, &Device::Cpu).unwrap();
        let mut seen = 0;
        for (key, expected) in &golden {
            let Some((layer, name)) = key.strip_prefix("importance.").and_then(|key| key.rsplit_once('.')) else {
                continue;
            };
            if !["l1", "l2", "bn_scale"].contains(&name) {
                continue;
            }
            let found = channel_scores(&context, layer, criterion(name).unwrap()).unwrap();
            for (found, expected) in found.iter().zip(expected.to_vec1::<f32>().unwrap()) {
                let expected = f64::from(expected);
                assert!((found - expected).abs() <= 1e-4 * expected.max(1.0), "{key}: {found} for {expected}");
            }
            assert_eq!(found.len(), expected.elem_count());
            seen += 1;
        }
        assert!(seen == 15 || name.starts_with("yolov8"), "{name}: {seen}");
    }
}

#[test]
fn detection_towers_are_pruned_up_to_their_last_convolutions() {
    for model in models() {
        let pruned = Pruner::new(&model, PruneOptions::default()).unwrap().prune().unwrap();
        assert_eq!(pruned.detector(), model.detector());
        for (&output, &same) in model.graph().outputs().iter().zip(pruned.graph().outputs()) {
            let (Op::Conv(before), Op::Conv(after)) = (&model.graph().node(output).op, &pruned.graph().node(same).op)
            else {
                panic!("outputs are convolutions");
            };
            assert_eq!(before.out_channels, after.out_channels);
            assert!(after.in_channels < before.in_channels, "{}", model.graph().node(output).name);
        }
    }
}

#[test]
fn a_saved_pruned_model_opens_as_it_was() {
    let model = zoo::yolo("yolov8n", &Fresh { width: Some(0.125), ..Fresh::numbered(2) }).unwrap();
    let pruned = Pruner::new(&model, PruneOptions::default()).unwrap().prune().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slim.safetensors");
    io::save(&pruned, &path, io::Precision::Fp32).unwrap();
    let again = io::load(&path).unwrap();
    assert_eq!(again.graph(), pruned.graph());
    let all = |model: &Model| {
        let sum = |sum: f64, tensor: &Tensor| sum + f64::from(tensor.sum_all().unwrap().to_scalar::<f32>().unwrap());
        model.tensors().values().fold(0.0, sum)
    };
    assert_eq!(all(&again), all(&pruned));
}
