//! Groups, plans and their application on small networks.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{fixtures, *};
use crate::{
    exec,
    graph::Activation,
    model::Model,
    options::{ByPattern, PerLayer},
};

/// Criteria that look at weights alone.
pub(super) const WITHOUT_DATA: [&str; 6] = ["l1", "l2", "bn_scale", "group_l2", "contribution", "random"];

pub(super) fn images(side: usize) -> Tensor {
    let count = 2 * 3 * side * side;
    let values: Vec<f32> = (0..count).map(|i| ((i * 7919 + i / 13) % 256) as f32 / 255.0).collect();
    Tensor::from_vec(values, (2, 3, side, side), &Device::Cpu).unwrap()
}

/// Largest difference of the outputs as a share of the largest output.
pub(super) fn difference(a: &Model, b: &Model, side: usize) -> f64 {
    let outputs = |model: &Model| exec::infer(model, &images(side), &[]).unwrap().outputs;
    let largest = |tensor: &Tensor| {
        let tensor = tensor.to_dtype(DType::F64).unwrap().abs().unwrap().flatten_all().unwrap();
        tensor.max(0).unwrap().to_scalar::<f64>().unwrap()
    };
    let of = |(a, b): (Tensor, Tensor)| largest(&(&a - &b).unwrap()) / largest(&a).max(1e-6);
    outputs(a).into_iter().zip(outputs(b)).map(of).fold(0.0, f64::max)
}

pub(super) fn fixture(which: usize, seed: u64) -> Model {
    match which {
        0 => fixtures::anchored(seed),
        1 => fixtures::towers(seed, Activation::Silu),
        2 => fixtures::towers(seed, Activation::Hardswish),
        3 => fixtures::towers(seed, Activation::Relu),
        _ => fixtures::grouped(seed),
    }
}

pub(super) fn loose(amount: Amount) -> PruneOptions {
    PruneOptions { amount, min_channels: 1.into(), max_ratio: 1.0.into(), size: 64, ..PruneOptions::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn removing_equals_zeroing(
        which in 0..5usize, seed in 0..1000u64, ratio in 0.05..0.85f64, global: bool, round_to in 1..4usize,
    ) {
        let model = fixture(which, seed);
        let scope = if global { Scope::Global } else { Scope::Local };
        let options =
            PruneOptions { importance: Some("random".into()), scope, seed, round_to, ..loose(Amount::Ratio(ratio)) };
        let plan = match Pruner::new(&model, options).unwrap().plan() {
            Ok(plan) => plan,
            Err(PruneError::Unreachable { .. } | PruneError::TooCoarse { .. }) => return Ok(()),
            Err(other) => panic!("{other}"),
        };
        let pruned = apply(&model, &plan).unwrap();
        let zeroed = zero(&model, &plan).unwrap();
        let report = plan.report(&model).unwrap();
        prop_assert_eq!(pruned.cost(64).unwrap(), report.after);
        prop_assert!(report.after.params < report.before.params);
        let apart = difference(&zeroed, &pruned, 16);
        prop_assert!(apart <= 1e-4, "{apart}");
        // The property must be able to fail: what was removed did matter.
        prop_assert!(difference(&model, &pruned, 16) > 1e-3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any choice of channels that leaves each group one, not only those that a ranking makes.
    #[test]
    fn any_plan_removes_what_it_zeroes(which in 0..5usize, picks in prop::collection::vec(any::<bool>(), 400)) {
        let model = fixture(which, 4);
        let mut picks = picks.into_iter();
        let mut plan = Plan { size: 64, ..Plan::default() };
        for group in Groups::of(model.graph()).unwrap().all() {
            let (name, channels) = (&model.graph().node(group.layer).name, group.channels.len());
            let total = model.graph().channels().unwrap()[group.layer];
            let layer = plan.layers.entry(name.clone()).or_insert(LayerPlan { channels: total, remove: Vec::new() });
            let gone = group.channels[1..channels].iter().filter(|_| picks.next() == Some(true));
            layer.remove.extend(gone);
        }
        let apart = difference(&zero(&model, &plan).unwrap(), &apply(&model, &plan).unwrap(), 16);
        prop_assert!(apart <= 1e-4, "{apart}");
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}

#[test]
fn groups_follow_the_structure() {
    let model = fixtures::towers(0, Activation::Silu);
    let groups = Groups::of(model.graph()).unwrap();
    let group = |name: &str| groups.all().iter().find(|group| group.name == name).unwrap();
    let names = |ids: &[usize]| ids.iter().map(|&id| model.graph().node(id).name.clone()).collect::<Vec<_>>();
    // C2f: the first half only goes to the concatenation, the second is the residual stream.
    assert_eq!(names(&group("model.1.cv1.conv[0..8]").producers), ["model.1.cv1.conv"]);
    assert_eq!(
        names(&group("model.1.cv1.conv[8..16]").producers),
        ["model.1.cv1.conv", "model.1.m.0.cv2.conv", "model.1.m.1.cv2.conv"]
    );
    assert_eq!(
        names(&group("model.1.cv1.conv[8..16]").consumers),
        ["model.1.m.0.cv1.conv", "model.1.m.1.cv1.conv", "model.1.cv2.conv"]
    );
    // A depthwise tower goes with what it reads.
    assert_eq!(names(&group("model.1.cv2.conv").producers), ["model.1.cv2.conv", "model.4.cv3.0.0.conv"]);
    // Detect's last convolutions keep their outputs.
    assert!(groups.all().iter().all(|group| !group.name.ends_with(".2")));
    let output = model.graph().outputs()[0];
    assert_eq!(groups.group_of(groups.coupled(output, 0).unwrap()), None);
    assert_eq!(groups.group_of(groups.coupled(0, 0).unwrap()), None);
}

#[test]
fn grouped_convolutions_lose_whole_groups() {
    let model = fixtures::grouped(1);
    let groups = Groups::of(model.graph()).unwrap();
    let plan = Pruner::new(&model, loose(Amount::Ratio(0.5))).unwrap().plan().unwrap();
    let pruned = apply(&model, &plan).unwrap();
    let conv = |model: &Model, name: &str| match model.graph().node(model.graph().find(name).unwrap()).op {
        crate::graph::Op::Conv(conv) => conv,
        _ => unreachable!("{name} is a convolution"),
    };
    let (before, after) = (conv(&model, "model.1.conv"), conv(&pruned, "model.1.conv"));
    assert_eq!([before.groups, before.in_channels, before.out_channels], [4, 12, 16]);
    assert_eq!([after.groups, after.in_channels, after.out_channels], [2, 6, 8]);
    assert!(groups.all().iter().any(|group| group.name == "model.0.conv" && group.coupled.len() == 4));
}

#[test]
fn targets_are_met_and_costs_are_exact() {
    for which in 0..5 {
        let model = fixture(which, 3);
        for scope in [Scope::Local, Scope::Global] {
            for importance in WITHOUT_DATA {
                if importance == "bn_scale" && which == 4 {
                    continue;
                }
                for share in [0.8, 0.5, 0.3] {
                    let of = |amount| {
                        let options = PruneOptions { importance: Some(importance.into()), scope, ..loose(amount) };
                        Pruner::new(&model, options).unwrap().plan().unwrap().report(&model).unwrap()
                    };
                    let macs = of(Amount::Macs(share)).macs_share();
                    let params = of(Amount::Params(share)).params_share();
                    let tolerance = 0.02; // Small networks have coarse steps; the real ones are held to 0.005.
                    assert!((macs - share).abs() < tolerance, "{which} {scope} {importance}: {macs} for {share}");
                    assert!((params - share).abs() < tolerance, "{which} {scope} {importance}: {params} for {share}");
                }
            }
        }
    }
}

#[test]
fn local_ratio_takes_the_same_share_of_every_group() {
    let model = fixtures::anchored(5);
    let options = PruneOptions { importance: Some("l1".into()), ..loose(Amount::Ratio(0.5)) };
    let plan = Pruner::new(&model, options).unwrap().plan().unwrap();
    for (name, layer) in &plan.layers {
        assert_eq!(layer.remove.len() * 2, layer.channels, "{name}");
    }
}

#[test]
fn the_least_important_go_first() {
    let model = fixtures::anchored(5);
    for importance in WITHOUT_DATA {
        for scope in [Scope::Local, Scope::Global] {
            let options = PruneOptions { importance: Some(importance.into()), scope, ..loose(Amount::Ratio(0.4)) };
            let pruner = Pruner::new(&model, options).unwrap();
            let plan = pruner.plan().unwrap();
            let rows = pruner.scores().unwrap();
            for row in &rows {
                let gone = &plan.layers[&row.layer].remove;
                if gone.contains(&row.channel) {
                    let kept = rows.iter().filter(|other| other.group == row.group && !gone.contains(&other.channel));
                    assert!(kept.into_iter().all(|other| other.score >= row.score), "{importance} {}", row.group);
                }
            }
        }
    }
}

#[test]
fn limits_hold() {
    let model = fixtures::anchored(6);
    let options = PruneOptions {
        scope: Scope::Global,
        round_to: 4,
        min_channels: 3.into(),
        max_ratio: 0.6.into(),
        ignore: vec!["model.0".into(), "model.7.*.conv".into()],
        size: 64,
        amount: Amount::Macs(0.75),
        ..PruneOptions::default()
    };
    let plan = Pruner::new(&model, options).unwrap().plan().unwrap();
    for (name, layer) in &plan.layers {
        let kept = layer.channels - layer.remove.len();
        assert!(kept.is_multiple_of(4) || kept == layer.channels, "{name}: {kept}");
        assert!(kept * 10 >= layer.channels * 4, "{name}: {kept} of {}", layer.channels);
        let ignored = name.starts_with("model.0.") || name.starts_with("model.7.");
        assert!(!ignored || layer.remove.is_empty(), "{name}");
    }
    assert!(plan.layers.values().any(|layer| !layer.remove.is_empty()));
}

#[test]
fn pruning_again_and_pruning_nothing() {
    let model = fixtures::towers(7, Activation::Silu);
    let nothing = Pruner::new(&model, loose(Amount::Macs(1.0))).unwrap().prune().unwrap();
    assert_eq!(nothing.graph(), model.graph());
    let once = Pruner::new(&model, loose(Amount::Macs(0.6))).unwrap().prune().unwrap();
    let pruner = Pruner::new(&once, PruneOptions { scope: Scope::Global, ..loose(Amount::Macs(0.6)) }).unwrap();
    let plan = pruner.plan().unwrap();
    let twice = apply(&once, &plan).unwrap();
    assert!(difference(&zero(&once, &plan).unwrap(), &twice, 16) <= 1e-4);
    let share = twice.cost(64).unwrap().macs as f64 / model.cost(64).unwrap().macs as f64;
    assert!((share - 0.36).abs() < 0.03, "{share}");
    assert_eq!(twice.provenance().history.len(), 2);
    assert!(model.provenance().history.is_empty());
}

#[test]
fn plans_are_seeded_saved_and_replayed() {
    let model = fixtures::anchored(8);
    let of = |seed| {
        let options = PruneOptions { importance: Some("random".into()), seed, ..loose(Amount::Macs(0.5)) };
        Pruner::new(&model, options).unwrap().plan().unwrap()
    };
    let plan = of(1);
    assert_eq!(plan, of(1));
    assert_ne!(plan.layers, of(2).layers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    plan.save(&path).unwrap();
    let again = Plan::load(&path).unwrap();
    assert_eq!(again, plan);
    let (a, b) = (apply(&model, &plan).unwrap(), apply(&model, &again).unwrap());
    assert_eq!(a.graph(), b.graph());
    assert_eq!(difference(&a, &b, 16), 0.0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let permissions = |path| std::fs::metadata(path).unwrap().permissions();
    assert_eq!(permissions(&path), permissions(&plain));
    std::fs::write(&path, "{\"model\": 3}").unwrap();
    assert!(Plan::load(&path).unwrap_err().to_string().contains("plan.json"));
    assert!(plan.save(plain.join("plan.json")).unwrap_err().to_string().contains("plain/plan.json"));
}

#[test]
fn plans_say_what_was_asked() {
    let asked = |options: PruneOptions| options.to_string();
    assert_eq!(asked(PruneOptions::default()), "local group_l2, macs 0.5");
    let options = PruneOptions {
        granularity: Granularity::Filter,
        importance: Some("l1".into()),
        strategy: None,
        threshold: Some(0.01),
        pattern: "1:4".into(),
        block: vec![2, 2],
        reduce: Some(Reduce::Mean),
        normalize: Normalize::Rank,
        per: Per::Macs,
        scope: Scope::Global,
        amount: Amount::Ratio(0.25),
        size: 64,
        round_to: 8,
        min_channels: PerLayer::from([("*", 2), ("model.0", 6)]),
        max_ratio: 0.5.into(),
        ratios: ByPattern::from([("model.4*", 0.25)]),
        order: Order::Highest,
        ignore: vec!["model.0".into()],
        seed: 7,
    };
    let all = "global l1, ratio 0.25, granularity \"filter\", reduce \"mean\", normalize \"rank\", per \"macs\", ratios \
               #{ \"model.4*\": 0.25 }, order \"highest\", size 64, round_to 8, min_channels #{ \"*\": 2, \"model.0\": 6 }, \
               max_ratio 0.5, ignore [\"model.0\"], threshold 0.01, pattern \"1:4\", block [2, 2], seed 7";
    assert_eq!(asked(options), all);
    // A former name gives the same plan.
    let model = fixtures::anchored(1);
    let plan = |name: &str| {
        Pruner::new(&model, PruneOptions { importance: Some(name.into()), ..loose(Amount::Macs(0.5)) })
            .unwrap()
            .plan()
            .unwrap()
    };
    assert_eq!(plan("group_norm"), plan("group_l2"));
}

#[test]
fn edited_plans_are_checked() {
    let model = fixtures::anchored(9);
    let edited = |name: &str, channels: usize, remove: Vec<usize>| {
        let mut plan = Plan { size: 64, ..Plan::default() };
        plan.layers.insert(name.into(), LayerPlan { channels, remove });
        apply(&model, &plan)
    };
    assert!(edited("model.0.conv", 8, vec![0, 5]).is_ok());
    // A residual partner names the same coupled channels.
    let by_partner = edited("model.2.m.1.cv2.conv", 8, vec![2]).unwrap();
    assert_eq!(by_partner.graph(), edited("model.2.cv1.conv", 8, vec![2]).unwrap().graph());
    let text = |result: Result<Model, PruneError>| result.unwrap_err().to_string();
    assert!(text(edited("model.0.convv", 8, vec![0])).contains("\"model.0.conv\""));
    assert!(text(edited("model.0.conv", 16, vec![0])).contains("16 channels"));
    assert!(text(edited("model.0.conv", 8, vec![8])).contains("channel 8"));
    assert!(text(edited("model.0.conv", 8, (0..8).collect())).contains("at least one must stay"));
    assert!(text(edited("model.8.m.0", 6, vec![1])).contains("must stay"));
}

#[test]
fn bad_options_are_named() {
    let model = fixtures::anchored(10);
    let error = |options: PruneOptions| match Pruner::new(&model, options) {
        Err(error) => error.to_string(),
        Ok(pruner) => pruner.plan().unwrap_err().to_string(),
    };
    let unreachable = error(PruneOptions { size: 64, amount: Amount::Macs(0.05), ..PruneOptions::default() });
    assert!(unreachable.contains("at least") && unreachable.contains("max_ratio"), "{unreachable}");
    let coarse = error(PruneOptions { round_to: 16, ignore: vec!["model.[!3]*".into()], ..loose(Amount::Params(0.9)) });
    assert!(coarse.contains("round_to"), "{coarse}");
    let ignore = error(PruneOptions { ignore: vec!["model.2.cv9".into()], ..loose(Amount::Macs(0.5)) });
    assert!(ignore.contains("model.2.cv9") && ignore.contains("\"model.2.cv"), "{ignore}");
    let pattern = error(PruneOptions { ignore: vec!["model.[".into()], ..loose(Amount::Macs(0.5)) });
    assert!(pattern.contains("not a pattern"), "{pattern}");
    for amount in [Amount::Macs(0.0), Amount::Params(1.5), Amount::Ratio(1.0), Amount::Ratio(f64::NAN)] {
        assert!(error(loose(amount)).contains("takes a number from"));
    }
    assert!(error(PruneOptions { round_to: 0, ..PruneOptions::default() }).contains("round_to"));
    assert!(error(PruneOptions { max_ratio: 1.5.into(), ..PruneOptions::default() }).contains("max_ratio"));
    assert!(error(PruneOptions { importance: Some("l3".into()), ..loose(Amount::Macs(0.5)) }).contains("bn_scale"));
    let bare = Pruner::new(
        &fixtures::grouped(0),
        PruneOptions { importance: Some("bn_scale".into()), ..loose(Amount::Macs(0.5)) },
    );
    assert!(bare.unwrap().plan().unwrap_err().to_string().contains("normalisation"));
}

#[test]
fn recalibration_measures_the_batches_statistics() {
    let model = fixtures::anchored(11);
    let image = images(32);
    let same = recalibrate_on(&model, std::iter::empty()).unwrap();
    assert_eq!(difference(&model, &same, 32), 0.0);
    let once = recalibrate_on(&model, [Ok(image.clone())]).unwrap();
    assert!(difference(&model, &once, 32) > 1e-2);
    // On that very batch, running averages now do what batch statistics do, but for the unbiased variance.
    let image = images(128);
    let once_wide = recalibrate_on(&model, [Ok(image.clone())]).unwrap();
    let trained = exec::train(&model, &image, &[]).unwrap().values.outputs;
    let inferred = exec::infer(&once_wide, &image, &[]).unwrap().outputs;
    for (a, b) in trained.iter().zip(&inferred) {
        let largest = |tensor: &Tensor| tensor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let apart = largest(&(a - b).unwrap()) / largest(a);
        assert!(apart < 0.02, "{apart}");
    }
    let image = images(32);
    let twice = recalibrate_on(&model, [Ok(image.clone()), Ok((image * 0.5).unwrap())]).unwrap();
    let mean = |model: &Model| model.tensors()["model.0.bn.running_mean"].to_vec1::<f32>().unwrap();
    for (one, two) in mean(&once).iter().zip(mean(&twice)) {
        assert!((0.75 * one - two).abs() < 1e-4, "{one} {two}");
    }
    let graph = twice.graph();
    assert_eq!(graph, model.graph());
}
