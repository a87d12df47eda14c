//! Removing branches against zeroing them, on small networks and on checkpoints.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use super::{
    super::{
        Amount, Granularity, Plan, PruneData, PruneError, PruneOptions, Pruner, apply,
        criteria_tests::data,
        fixtures::{Builder, anchored, grouped, towers},
        recalibrate_on,
        tests::{difference, images},
        zero,
    },
    branches,
};
use crate::{
    exec,
    graph::{Activation, Graph, Op},
    io,
    model::{Head, Model},
    testing::shared,
    zoo::{self, Fresh},
};

fn names(model: &Model) -> Vec<String> {
    branches(model.graph()).into_iter().map(|branch| branch.name).collect()
}

fn plan(names: impl IntoIterator<Item = String>) -> Plan {
    Plan { size: 64, branches: names.into_iter().collect(), ..Plan::default() }
}

fn params(model: &Model) -> u64 {
    model.cost(64).unwrap().params
}

#[test]
fn bottlenecks_are_found() {
    assert_eq!(names(&anchored(1)), ["model.2.m.0", "model.2.m.1", "model.7.m.0"]);
    assert_eq!(names(&towers(1, Activation::Silu)), ["model.1.m.0", "model.1.m.1", "model.3.m.0"]);
    assert!(names(&grouped(1)).is_empty());
    let stock = |variant| names(&zoo::yolo(variant, &Fresh::numbered(2)).unwrap());
    // The neck's bottlenecks do not add.
    let backbone = ["model.2.m.0", "model.4.m.0", "model.4.m.1", "model.6.m.0", "model.6.m.1"];
    assert_eq!(stock("yolov5n"), [&backbone[..], &["model.6.m.2", "model.8.m.0"]].concat());
    assert_eq!(stock("yolov8n"), [&backbone[..], &["model.8.m.0"]].concat());
}

#[test]
fn sums_of_other_kinds_are_no_branches() {
    let mut builder = Builder::new(Activation::Silu);
    let stem = builder.block("stem", 0, 8, 3, 2);
    let inner = builder.block("a", stem, 8, 1, 1);
    // Its inner value is read from outside.
    let open = builder.block("b", inner, 8, 1, 1);
    let sum = builder.graph.add("open.add", Op::Add, &[stem, open]);
    // What is added does not come from the other summand.
    let side = builder.block("c", inner, 8, 1, 1);
    let both = builder.graph.add("side.add", Op::Add, &[sum, side]);
    // What is added is no convolution's.
    let upsampled = builder.graph.add("up", Op::Upsample { scale: 1 }, &[both]);
    let last = builder.graph.add("up.add", Op::Add, &[both, upsampled]);
    builder.graph.set_outputs(vec![last]);
    assert!(branches(&builder.graph).is_empty(), "{:?}", branches(&builder.graph));
}

/// Removes every branch alone and all together.
fn removing_equals_zeroing(model: &Model, side: usize) {
    let all = names(model);
    assert!(all.len() >= 2, "{}", model.provenance().name);
    let sets = all.iter().map(|name| vec![name.clone()]).chain([all.clone(), all[..2].to_vec()]);
    for set in sets {
        let plan = plan(set.clone());
        let (smaller, zeroed) = (apply(model, &plan).unwrap(), zero(model, &plan).unwrap());
        let apart = difference(&zeroed, &smaller, side);
        assert!(apart <= 1e-4, "{} {set:?}: {apart}", model.provenance().name);
        assert!(difference(model, &smaller, side) > 1e-4, "{set:?}");
        assert!(params(&smaller) < params(model));
        let report = plan.report(model).unwrap();
        assert_eq!(report.after, smaller.graph().total_cost([64; 2]).unwrap());
    }
}

#[test]
fn removing_equals_zeroing_in_small_networks() {
    for seed in 0..3 {
        removing_equals_zeroing(&anchored(seed), 32);
        removing_equals_zeroing(&towers(seed, Activation::Silu), 32);
        removing_equals_zeroing(&towers(seed, Activation::Relu), 32);
    }
}

#[test]
fn removing_equals_zeroing_in_real_models() {
    for name in ["yolov5n-bccd", "yolov8n-bccd"] {
        let Some(path) = shared(&format!("models/{name}.pt")) else { return };
        removing_equals_zeroing(&io::load(path).unwrap(), 64);
    }
    let narrow = Fresh { width: Some(0.125), ..Fresh::numbered(2) };
    let fresh = zoo::yolo("yolov8s", &narrow).unwrap();
    removing_equals_zeroing(&recalibrate_on(&fresh, [Ok(images(64))]).unwrap(), 64);
}

#[test]
fn columns_of_a_value_that_occurs_twice_are_added() {
    let model = towers(3, Activation::Silu);
    let slim = apply(&model, &plan(["model.1.m.0".into()])).unwrap();
    let reader = |model: &Model| model.tensors()["model.1.cv2.conv.weight"].to_dtype(DType::F64).unwrap();
    let (before, after) = (reader(&model), reader(&slim));
    // Two halves and two bottlenecks of 8 channels; the second half and the first bottleneck become one.
    assert_eq!((before.dims()[1], after.dims()[1]), (32, 24));
    let part = |tensor: &Tensor, start: usize| tensor.narrow(1, start, 8).unwrap();
    let expected =
        Tensor::cat(&[part(&before, 0), (part(&before, 8) + part(&before, 16)).unwrap(), part(&before, 24)], 1);
    let apart = (expected.unwrap() - after).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    assert!(apart < 1e-7, "{apart}");
    let concat = slim.graph().find("model.1.cat").unwrap();
    assert_eq!(slim.graph().node(concat).inputs.len(), 3);
    assert!(slim.graph().find("model.1.m.0.cv1.conv").is_none() && slim.graph().find("model.1.m.1.add").is_some());
}

#[test]
fn a_value_that_a_network_concatenates_twice_stays_twice() {
    let mut builder = Builder::new(Activation::Silu);
    let stem = builder.block("stem", 0, 4, 3, 2);
    let inner = builder.block("b.cv1", stem, 4, 1, 1);
    let sum = builder.graph.add("b.add", Op::Add, &[inner, stem]);
    let cat = builder.graph.add("cat", Op::Concat, &[stem, stem, sum]);
    let bias = crate::graph::Conv { bias: true, ..crate::graph::Conv::same(12, 6, 1, 1) };
    let out = builder.graph.add("out", Op::Conv(bias), &[cat]);
    let model = builder.finish(vec![out], Head::Anchors { anchors: vec![vec![[10.0, 13.0]]] }, vec![2], 1);
    let plan = plan(["b".into()]);
    let slim = apply(&model, &plan).unwrap();
    assert_eq!(slim.graph().node(slim.graph().find("cat").unwrap()).inputs.len(), 2);
    assert!(difference(&zero(&model, &plan).unwrap(), &slim, 16) <= 1e-4);
}

#[test]
fn channels_and_branches_go_together_and_in_turn() {
    for model in [anchored(2), towers(2, Activation::Silu)] {
        let options = PruneOptions { amount: Amount::Ratio(0.3), min_channels: 1.into(), ..PruneOptions::default() };
        let channels = Pruner::new(&model, options.clone()).unwrap().plan().unwrap();
        let both = Plan { branches: names(&model).into_iter().take(2).collect(), ..channels };
        let (slim, zeroed) = (apply(&model, &both).unwrap(), zero(&model, &both).unwrap());
        assert!(difference(&zeroed, &slim, 32) <= 1e-4);
        // By channels once more, and by depth once more.
        let again = Pruner::new(&slim, options).unwrap().prune().unwrap();
        let last = apply(&again, &plan(names(&again))).unwrap();
        assert!(params(&last) < params(&again) && names(&last).is_empty());
    }
}

#[test]
fn a_smaller_network_is_saved_and_trained_as_any_other() {
    let model = towers(4, Activation::Silu);
    let slim = apply(&model, &plan(["model.1.m.0".into()])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slim.safetensors");
    io::save(&slim, &path, io::Precision::Fp32).unwrap();
    let again = io::load(&path).unwrap();
    assert_eq!(again.graph(), slim.graph());
    assert_eq!(difference(&slim, &again, 32), 0.0);
    let tape = exec::train(&slim, &images(32), &[]).unwrap();
    let ones = tape.values.outputs.iter().map(|output| Some(output.ones_like().unwrap())).collect();
    let gradients = tape.backward(&exec::ValueGradients { outputs: ones, ..Default::default() }).unwrap();
    assert!(gradients.tensors.contains_key("model.1.cv2.conv.weight"));
    let path = folder.path().join("plan.json");
    let planned = plan(["model.1.m.0".into()]);
    planned.save(&path).unwrap();
    assert_eq!(Plan::load(&path).unwrap(), planned);
}

#[test]
fn a_joined_weight_is_held_where_both_were() {
    let model = towers(5, Activation::Silu);
    let name = "model.1.cv2.conv.weight";
    let weight = &model.tensors()[name];
    // Everything is held in the columns 8..16; of 16..24 the last four.
    let open = |column: usize| if (8..16).contains(&column) || (20..24).contains(&column) { 0u8 } else { 1 };
    let rows = weight.dims()[0];
    let mask: Vec<u8> = (0..rows).flat_map(|_| (0..32).map(open)).collect();
    let mask = Tensor::from_vec(mask, (rows, 32, 1, 1), weight.device()).unwrap();
    let masked = model.with_masks([(name.to_owned(), mask)].into()).unwrap();
    let planned = plan(["model.1.m.0".into()]);
    let slim = apply(&masked, &planned).unwrap();
    let found = slim.masks()[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let expected: Vec<f32> = (0..24).map(|column| if (12..16).contains(&column) { 0.0 } else { 1.0 }).collect();
    assert_eq!(found[..24], expected);
    assert!(difference(&zero(&masked, &planned).unwrap(), &slim, 32) <= 1e-4);
}

#[test]
fn names_of_no_branch_are_refused() {
    let model = anchored(1);
    let error = apply(&model, &plan(["model.2.m.7".into()])).unwrap_err().to_string();
    assert!(error.contains("`model.2.m.7`") && error.contains("did you mean"), "{error}");
    assert!(error.contains("there are model.2.m.0, model.2.m.1, model.7.m.0"), "{error}");
    let error = apply(&grouped(1), &plan(["a".into()])).unwrap_err().to_string();
    assert!(error.contains("there are none"), "{error}");
    assert!(branches(&Graph::new()).is_empty());
    assert_eq!(BTreeSet::from_iter(names(&model)).len(), 3);
}

/// A pruner of branches, which may look at six images.
fn pruner(model: &Model, options: PruneOptions) -> Result<Pruner, PruneError> {
    let pruner = Pruner::new(model, PruneOptions { granularity: Granularity::Depth, size: 64, ..options })?;
    Ok(pruner.with_data(data(6, 4)))
}

#[test]
fn scores_are_mean_magnitudes_over_those_of_the_input() {
    let model = towers(6, Activation::Silu);
    let scores = pruner(&model, PruneOptions::default()).unwrap().branch_scores().unwrap();
    let PruneData { dataset, .. } = data(6, 4);
    let batch = crate::data::Batches::eval(dataset.split("train").unwrap(), 64, 6).unwrap().next().unwrap().unwrap();
    let all = branches(model.graph());
    assert_eq!(scores.len(), all.len());
    for (branch, score) in all.iter().zip(&scores) {
        let taps = exec::infer(&model, &batch.images, &[branch.input, branch.output]).unwrap().taps;
        let mean = |node| {
            let magnitudes = taps[&node].to_dtype(DType::F64).unwrap().abs().unwrap();
            magnitudes.mean_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let expected = mean(branch.output) / mean(branch.input);
        assert!((score.score - expected).abs() <= 1e-5 * expected, "{}: {} for {expected}", branch.name, score.score);
        let slim = apply(&model, &plan([branch.name.clone()])).unwrap();
        assert_eq!(score.params, params(&model) - params(&slim));
        assert_eq!(score.macs, model.cost(64).unwrap().macs - slim.cost(64).unwrap().macs);
    }
}

#[test]
fn the_lowest_scores_go_first_as_far_as_was_asked() {
    let model = io::teacher().unwrap();
    let planned = |options: PruneOptions| pruner(&model, options).unwrap().plan();
    let scores = pruner(&model, PruneOptions::default()).unwrap().branch_scores().unwrap();
    let mut order: Vec<_> = scores.iter().map(|row| (row.score, row.branch.clone())).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(order.len() > 1);
    let first = |count: usize| order[..count].iter().map(|(_, name)| name.clone()).collect::<BTreeSet<String>>();
    for count in 0..order.len() {
        let ratio = count as f64 / order.len() as f64;
        let plan = planned(PruneOptions { amount: Amount::Ratio(ratio), ..PruneOptions::default() }).unwrap();
        assert_eq!(plan.branches, first(count));
        let report = plan.report(&model).unwrap();
        for (amount, what) in
            [(Amount::Macs(report.macs_share()), "macs"), (Amount::Params(report.params_share()), "params")]
        {
            assert_eq!(
                planned(PruneOptions { amount, ..PruneOptions::default() }).unwrap().branches,
                first(count),
                "{what}"
            );
        }
    }
    let random = |seed| {
        let options = PruneOptions { importance: Some("random".into()), seed, ..PruneOptions::default() };
        pruner(&model, options).unwrap().branch_scores().unwrap()
    };
    assert!(random(1) == random(1) && random(1) != random(2));
}

#[test]
fn what_cannot_be_met_is_named() {
    let model = anchored(1);
    let refused =
        |options: PruneOptions| pruner(&model, options).and_then(|pruner| pruner.plan()).unwrap_err().to_string();
    let error = refused(PruneOptions { amount: Amount::Params(0.01), ..PruneOptions::default() });
    assert!(error.contains("cannot keep 1.0 % of the parameters by removing some of 3 residual branches"), "{error}");
    let everything = || vec!["model.*".to_owned()];
    let error = refused(PruneOptions { ignore: everything(), ..PruneOptions::default() });
    assert!(error.contains("`ignore` keeps all 3"), "{error}");
    let error = refused(PruneOptions { importance: Some("l2".into()), ..PruneOptions::default() });
    assert!(error.contains("not depth, for which there are residual, random"), "{error}");
    let kept =
        PruneOptions { ignore: vec!["model.2.m".into()], amount: Amount::Ratio(0.999), ..PruneOptions::default() };
    let plan = pruner(&model, kept).unwrap().plan().unwrap();
    assert_eq!(plan.branches, BTreeSet::from(["model.7.m.0".to_owned()]));
    let without = PruneOptions { granularity: Granularity::Depth, ..PruneOptions::default() };
    let error = Pruner::new(&model, without.clone()).unwrap().plan().unwrap_err().to_string();
    assert!(error.contains("residual is measured on images"), "{error}");
    let error = Pruner::new(&grouped(1), without).unwrap().with_data(data(6, 4)).plan().unwrap_err().to_string();
    assert!(error.contains("choose another granularity"), "{error}");
}
