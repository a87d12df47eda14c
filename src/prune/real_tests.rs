//! What is asked of pruning, on real checkpoints and fresh models.

use candle_core::{Device, Tensor};

use super::{
    tests::{WITHOUT_DATA, difference, images},
    *,
};
use crate::{
    eval::ActivationOptions,
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
fn scores_are_those_of_pytorch() {
    for name in CHECKPOINTS {
        let (Some(file), Some(golden)) =
            (shared(&format!("models/{name}.pt")), shared(&format!("goldens/{name}.safetensors")))
        else {
            return;
        };
        let model = io::load(file).unwrap();
        let groups = Groups::of(model.graph()).unwrap();
        let measured = Measured::default();
        let context = |granularity| Context {
            model: &model,
            groups: &groups,
            granularity,
            threshold: 1e-3,
            size: 640,
            seed: 0,
            measured: &measured,
        };
        let of_weights = weight_scores(&context(Granularity::Weight), criterion("lamp").unwrap()).unwrap();
        let golden = candle_core::safetensors::load(golden, &Device::Cpu).unwrap();
        let mut seen = 0;
        for (key, expected) in &golden {
            let Some((layer, name)) = key.strip_prefix("importance.").and_then(|key| key.rsplit_once('.')) else {
                continue;
            };
            let filters =
                |name| channel_scores(&context(Granularity::Filter), layer, criterion(name).unwrap()).unwrap();
            let found: Vec<f64> = match name {
                "l1" | "l2" | "fpgm" => filters(name),
                // The golden has the share of zeros, the score that of the others.
                "zero_rate" => filters(name).into_iter().map(|share| 1.0 - share).collect(),
                "bn_scale" => channel_scores(&context(Granularity::Channel), layer, criterion(name).unwrap()).unwrap(),
                "lamp" => {
                    let weight = of_weights.iter().find(|scores| scores.name == format!("{layer}.weight")).unwrap();
                    assert_eq!(weight.shape[..], *expected.dims());
                    weight.scores.iter().map(|&score| f64::from(score)).collect()
                }
                other => panic!("the goldens have {other}, which nothing is compared with"),
            };
            let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(found.len(), expected.len());
            let mut alike = std::collections::HashMap::<u64, u32>::new();
            found.iter().for_each(|score| *alike.entry(score.to_bits()).or_default() += 1);
            for (&score, expected) in found.iter().zip(expected) {
                // PyTorch puts weights of one magnitude in some order; here they are as large as each other.
                let others = if name == "lamp" { alike[&score.to_bits()] - 1 } else { 0 };
                let most = score / (1.0 - f64::from(others) * score);
                let (expected, slack) = (f64::from(expected), 1e-4 * score.max(1e-3));
                assert!(expected >= score - slack && expected <= most + slack, "{key}: {score} for {expected}");
            }
            seen += 1;
        }
        assert!(seen == 30 || name.starts_with("yolov8"), "{name}: {seen}");
    }
}

/// A model and its images; the first few, small.
fn bccd() -> Option<(Model, PruneData)> {
    let model = io::load(shared("models/yolov5n-bccd.pt")?).unwrap();
    let dataset = crate::data::dataset(shared("data/bccd/data.yaml")?).unwrap();
    let options = ActivationOptions { images: 3, size: 160, batch: 2, split: "train".into() };
    Some((model, PruneData { dataset, options }))
}

#[test]
fn every_criterion_scores_a_trained_network_on_real_images() {
    let Some((model, data)) = bccd() else { return };
    for criterion in CRITERIA {
        let about = criterion.about();
        for &granularity in about.forms.iter().flat_map(|form| form.granularities) {
            let pruner = |importance: &str| {
                let importance = Some(importance.to_owned());
                let amount = match granularity {
                    Granularity::Weight | Granularity::Block => Amount::Ratio(0.5),
                    Granularity::Channel | Granularity::Filter | Granularity::NM | Granularity::Depth => {
                        PruneOptions::default().amount
                    }
                };
                let options = PruneOptions { granularity, importance, amount, size: 160, ..PruneOptions::default() };
                Pruner::new(&model, options).unwrap().with_data(data.clone())
            };
            let what = format!("{} {granularity}", about.name);
            let [own, random] = [pruner(about.name), pruner("random")];
            if granularity.masks() {
                let lowest = |pruner: &Pruner| {
                    let scores = pruner.weight_scores().unwrap();
                    assert_eq!(scores.len(), model.convolutions().count());
                    let of = |tensor: &WeightScores| {
                        assert_eq!(tensor.scores.len(), tensor.shape.iter().product::<usize>(), "{what}");
                        let least = tensor.scores.iter().copied().fold(f32::INFINITY, f32::min);
                        assert!(tensor.scores.iter().all(|score| score.is_finite()), "{what} {}", tensor.name);
                        tensor.scores.iter().position(|&score| score == least)
                    };
                    scores.iter().map(of).collect::<Vec<_>>()
                };
                assert!(about.name == "random" || lowest(&own) != lowest(&random), "{what}");
                continue;
            }
            if granularity == Granularity::Depth {
                let rows = own.branch_scores().unwrap();
                assert!(rows.len() > 2 && rows.iter().all(|row| row.score.is_finite()), "{what}");
                assert!(rows.iter().any(|row| row.score != rows[0].score), "{what} tells nothing apart");
                continue;
            }
            let rows = own.scores().unwrap();
            assert!(rows.iter().all(|row| row.score.is_finite()), "{what}");
            let differ = rows.iter().any(|row| row.score != rows[0].score);
            assert!(differ, "{what} tells nothing apart");
            let (plan, chance) = (own.plan().unwrap(), random.plan().unwrap());
            assert!(about.name == "random" || plan.layers != chance.layers, "{what}");
            let slim = apply(&model, &plan).unwrap();
            assert!((slim.cost(160).unwrap().macs as f64 / model.cost(160).unwrap().macs as f64) < 0.51, "{what}");
        }
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
