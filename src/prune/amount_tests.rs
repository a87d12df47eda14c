//! Amounts by layer, their limits, and the order in which units go.

use std::collections::BTreeMap;

use super::{
    fixtures,
    tests::{fixture, loose},
    *,
};
use crate::{
    model::Model,
    options::{ByPattern, PerLayer},
};

/// How many filters every layer of the plan keeps.
fn kept(model: &Model, options: PruneOptions) -> BTreeMap<String, (usize, usize)> {
    let plan = Pruner::new(model, options).unwrap().plan().unwrap();
    let count = |layer: &LayerPlan| (layer.channels - layer.remove.len(), layer.channels);
    plan.layers.iter().map(|(name, layer)| (name.clone(), count(layer))).collect()
}

#[test]
fn layers_lose_the_share_that_is_theirs() {
    let model = fixtures::anchored(3);
    let ratios = ByPattern::from([("model.*", 0.25), ("model.3", 0.5), ("model.0", 0.0)]);
    let only = PruneOptions { ratios: ratios.clone(), ..loose(Amount::Ratios) };
    for (name, (kept, all)) in kept(&model, only) {
        let goes = match name.as_str() {
            name if name.starts_with("model.0.") => 0.0,
            name if name.starts_with("model.3.") => 0.5,
            _ => 0.25,
        };
        assert!((kept as f64 - all as f64 * (1.0 - goes)).abs() <= 1.0, "{name}: {kept} of {all}");
    }
    // The others make up an amount, and limits do not bind what is named.
    let ratios = ByPattern::from([("model.3", 0.8)]);
    let options = PruneOptions { ratios, max_ratio: 0.5.into(), ..loose(Amount::Macs(0.6)) };
    let pruner = Pruner::new(&model, options).unwrap();
    let plan = pruner.plan().unwrap();
    let named = &plan.layers["model.3.conv"];
    assert_eq!(named.channels - named.remove.len(), (named.channels as f64 * 0.2).round() as usize);
    assert!((plan.report(&model).unwrap().macs_share() - 0.6).abs() < 0.01);
    assert!(plan.layers.values().filter(|layer| !layer.remove.is_empty()).count() > 3);
}

#[test]
fn limits_differ_by_layer() {
    let model = fixtures::anchored(4);
    let options = PruneOptions {
        scope: Scope::Global,
        min_channels: PerLayer::from([("*", 1), ("model.3", 7)]),
        max_ratio: PerLayer::from([("*", 0.9), ("model.0", 0.25)]),
        ..loose(Amount::Ratio(0.6))
    };
    let kept = kept(&model, options);
    assert!(kept["model.3.conv"].0 >= 7 && kept["model.0.conv"].0 * 4 >= kept["model.0.conv"].1 * 3, "{kept:?}");
    assert!(kept.values().any(|&(kept, all)| kept * 2 < all), "{kept:?}");
}

#[test]
fn patterns_that_fit_nothing_or_clash_are_errors() {
    let model = fixtures::anchored(5);
    let error =
        |options: PruneOptions| Pruner::new(&model, options).err().map_or(String::new(), |error| error.to_string());
    let ratios = |patterns| PruneOptions { ratios: patterns, ..loose(Amount::Ratios) };
    let nothing = error(ratios(ByPattern::from([("model.2.cv9", 0.3)])));
    assert!(nothing.contains("\"ratios\"") && nothing.contains("did you mean \"model.2.cv"), "{nothing}");
    let limit = PruneOptions { min_channels: PerLayer::from([("modle.0", 3)]), ..loose(Amount::Macs(0.5)) };
    assert!(error(limit).contains("\"min_channels\""));
    let clash = error(ratios(ByPattern::from([("model.3*", 0.3), ("*del.3.c*", 0.4)])));
    assert!(clash.contains("both fit") && clash.contains("model.3*"), "{clash}");
    Pruner::new(&model, ratios(ByPattern::from([("model.3*", 0.3), ("model.3.c*", 0.4)]))).unwrap();
    let overshot = ByPattern::from([("*", 0.6)]);
    let pruner = Pruner::new(&model, PruneOptions { ratios: overshot, ..loose(Amount::Macs(0.9)) }).unwrap();
    assert!(pruner.plan().unwrap_err().to_string().contains("`ratios` alone leave"));
}

#[test]
fn the_highest_go_first_where_that_is_asked_for() {
    for which in 0..5 {
        let model = fixture(which, 7);
        for scope in Scope::ALL {
            let pruner = |order| {
                let options = PruneOptions { order, scope, importance: Some("l2".into()), ..loose(Amount::Ratio(0.3)) };
                Pruner::new(&model, options).unwrap()
            };
            let lost = |order| {
                let (pruner, mut scores) = (pruner(order), BTreeMap::new());
                let plan = pruner.plan().unwrap();
                for row in pruner.scores().unwrap() {
                    scores.insert((row.layer.clone(), row.channel), row.rank);
                }
                let gone = plan.layers.iter().flat_map(|(name, layer)| {
                    layer.remove.iter().map(|&channel| scores[&(name.clone(), channel)]).collect::<Vec<_>>()
                });
                gone.sum::<f64>()
            };
            assert!(lost(Order::Highest) > lost(Order::Lowest) + 0.1, "{which} {scope}");
        }
        let layers = Pruner::new(&model, PruneOptions { order: Order::Layers, ..loose(Amount::Ratio(0.3)) }).unwrap();
        assert!(layers.plan().unwrap_err().to_string().contains("gradual"));
    }
}

#[test]
fn a_layer_s_ties_are_explained() {
    let model = fixtures::anchored(6);
    let pruner =
        Pruner::new(&model, PruneOptions { ignore: vec!["model.2".into()], ..loose(Amount::Macs(0.5)) }).unwrap();
    let [found] = &pruner.explain("model.2.cv1").unwrap()[..] else { panic!("one convolution") };
    let [group] = &found.groups[..] else { panic!("one group") };
    assert_eq!((found.layer.as_str(), found.channels, found.pinned), ("model.2.cv1.conv", 8, 0));
    assert_eq!(group.producers, ["model.2.cv1.conv", "model.2.m.0.cv2.conv", "model.2.m.1.cv2.conv"]);
    assert_eq!(group.readers, ["model.2.m.0.cv1.conv", "model.2.m.1.cv1.conv", "model.2.cv3.conv"]);
    assert!(group.ignored && group.norms.len() == 3);
    let ties: Vec<&str> = group.ties.iter().map(|tie| tie.node.as_str()).collect();
    assert_eq!(ties, ["model.2.m.0.add", "model.2.m.1.add", "model.2.cat"]);
    assert_eq!(group.ties[0].of, ["model.2.cv1.conv", "model.2.m.0.cv2.conv"]);
    let tree = found.to_string();
    assert!(tree.contains("│  └─ model.2.m.1.cv2.conv") || tree.contains("└─ model.2.m.1.cv2.conv"), "{tree}");
    assert!(tree.contains("model.2.m.0.add (Add) of model.2.cv1.conv, model.2.m.0.cv2.conv"), "{tree}");
    // What reaches an output stays; a module is all of its convolutions; an unknown name has a nearest one.
    let head = &pruner.explain("model.8.m.0").unwrap()[0];
    assert!(head.pinned == head.channels && head.groups.is_empty() && head.to_string().contains("they stay"));
    assert_eq!(pruner.explain("model.2.m.0").unwrap().len(), 2);
    assert!(pruner.explain("model.2.cv9").unwrap_err().to_string().contains("did you mean"));
}

#[test]
fn plans_are_compared_layer_by_layer() {
    let plan = |remove: &[usize], branch: Option<&str>| {
        let mut plan = Plan::default();
        plan.layers.insert("model.10.conv".into(), LayerPlan { channels: 8, remove: remove.to_vec() });
        plan.layers.insert("model.9.conv".into(), LayerPlan { channels: 4, remove: remove[..1].to_vec() });
        plan.layers.insert("model.1.conv".into(), LayerPlan { channels: 4, remove: vec![3] });
        plan.branches.extend(branch.map(str::to_owned));
        plan
    };
    let (here, there) = (plan(&[0, 2, 5], Some("model.4.m.0")), plan(&[1, 2], None));
    let rows = here.diff(&there);
    let names: Vec<&str> = rows.iter().map(|row| row.layer.as_str()).collect();
    assert_eq!(names, ["model.9.conv", "model.10.conv", "model.4.m.0"]);
    assert_eq!((rows[1].go, rows[1].both, rows[1].channels), ([3, 2], 1, 8));
    assert_eq!((rows[1].only_here.as_slice(), rows[1].only_there.as_slice()), ([0, 5].as_slice(), [1].as_slice()));
    assert!(here.diff(&here).is_empty());
}

#[test]
fn what_a_scan_calls_dear_stays() {
    let model = fixtures::anchored(7);
    let pruner = Pruner::new(&model, loose(Amount::Ratio(0.3))).unwrap();
    let dear = |name: &str| name.starts_with("model.2") || name.starts_with("model.7");
    let curve = |group: &Group| -> Vec<f64> {
        let slope = if dear(&group.name) { 10.0 } else { 0.1 };
        (0..=group.coupled.len()).map(|gone| slope * gone as f64).collect()
    };
    let curves: Vec<Vec<f64>> = pruner.groups().all().iter().map(curve).collect();
    let allocated = pruner.clone().with_curves(curves);
    let share = |pruner: &Pruner| {
        let plan = pruner.plan().unwrap();
        let gone = |wanted: bool| -> usize {
            plan.layers.iter().filter(|(name, _)| dear(name) == wanted).map(|(_, layer)| layer.remove.len()).sum()
        };
        (gone(true), gone(false))
    };
    let ((before, _), (dear, cheap)) = (share(&pruner), share(&allocated));
    assert!(before > 0 && dear == 0 && cheap > 0, "{before} {dear} {cheap}");
    // Within a group the scores still decide.
    let (plan, scores) = (allocated.plan().unwrap(), allocated.scores().unwrap());
    for (name, layer) in plan.layers.iter().filter(|(_, layer)| !layer.remove.is_empty()) {
        let of = |gone: bool| {
            let rows = scores.iter().filter(|row| row.layer == *name && layer.remove.contains(&row.channel) == gone);
            rows.map(|row| row.score).collect::<Vec<_>>()
        };
        let (highest, lowest) =
            (of(true).into_iter().fold(f64::MIN, f64::max), of(false).into_iter().fold(f64::MAX, f64::min));
        assert!(highest <= lowest, "{name}");
    }
}

#[test]
fn time_is_predicted_from_widths_and_a_plan_is_timed() {
    let model = fixtures::anchored(8);
    let options = PruneOptions { size: 128, ..loose(Amount::Latency(0.8)) };
    let pruner = Pruner::new(&model, options.clone()).unwrap();
    let costs = cost::CostModel::new(model.graph(), pruner.groups(), 128).unwrap();
    let clock = latency::Clock::new(&model, pruner.groups(), &costs, 128, &crate::progress::Silent).unwrap();
    let full: Vec<usize> = pruner.groups().all().iter().map(|group| group.coupled.len()).collect();
    let half: Vec<usize> = full.iter().map(|full| full / 2).collect();
    assert!(clock.seconds(&full) > clock.seconds(&half) && clock.seconds(&half) > 0.0);
    // The plan is one and the same however often it is asked for, and says what was asked.
    let plan = pruner.plan().unwrap();
    assert_eq!(plan, pruner.plan().unwrap());
    assert!(plan.asked.contains("latency 0.8") && plan.layers.values().any(|layer| !layer.remove.is_empty()));
}
