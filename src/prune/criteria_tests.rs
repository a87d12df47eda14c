//! Every criterion of the list, on a trained network and on images.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    tests::{fixture, images, loose},
    *,
};
use crate::{
    data::{Batches, ShapesOptions, shapes},
    eval::ActivationOptions,
    exec::{self, Backend, NormStatistics, TrainOptions, ValueGradients},
    graph::NodeId,
    io,
    model::{Model, Tensors},
    progress::{Progress, Silent},
    train::loss::{DetectionLoss, Gains},
};

pub(super) fn data(count: usize, batch: usize) -> PruneData {
    let dataset = shapes(&ShapesOptions { train: count, val: 1, size: 64, ..ShapesOptions::default() }).unwrap();
    let options = ActivationOptions { images: count, size: 64, batch, ..ActivationOptions::default() };
    PruneData { dataset, options }
}

fn pruner(model: &Model, importance: &str) -> Pruner {
    pruner_of(model, Granularity::Channel, importance)
}

fn pruner_of(model: &Model, granularity: Granularity, importance: &str) -> Pruner {
    let importance = Some(importance.into());
    Pruner::new(model, PruneOptions { granularity, importance, ..loose(Amount::Ratio(0.25)) }).unwrap()
}

/// Mean change of the outputs as a share of their mean magnitude.
fn change(a: &Model, b: &Model) -> f64 {
    let outputs = |model: &Model| exec::infer(model, &images(64), &[]).unwrap().outputs;
    let (mut apart, mut size) = (0.0, 0.0);
    for (a, b) in outputs(a).iter().zip(&outputs(b)) {
        let sum = |tensor: candle_core::Tensor| {
            f64::from(tensor.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
        };
        apart += sum((a - b).unwrap());
        size += sum(a.clone());
    }
    apart / size
}

/// As many channels of every group as `plan` removes, but those of the highest scores.
fn highest(plan: &Plan, rows: &[ScoreRow]) -> Plan {
    let mut other = plan.clone();
    other.layers.values_mut().for_each(|layer| layer.remove.clear());
    let mut groups: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    groups.dedup();
    for group in groups {
        let mut of_group: Vec<&ScoreRow> = rows.iter().filter(|row| row.group == group).collect();
        of_group.sort_by(|a, b| b.score.total_cmp(&a.score));
        let gone = &plan.layers[&of_group[0].layer].remove;
        let count = of_group.iter().filter(|row| gone.contains(&row.channel)).count();
        let layer = other.layers.get_mut(&of_group[0].layer).unwrap();
        layer.remove.extend(of_group[..count].iter().map(|row| row.channel));
        layer.remove.sort_unstable();
    }
    other
}

/// When removing the lowest scores must change less than removing the highest: at once, for what judges the network as it
/// is, or once its normalisations have measured their statistics anew, for norms of weights, whose scale they undo.
enum Meaningful {
    AtOnce,
    Recalibrated,
    /// Chance, gradients of filters, and shares of zeros in a network of SiLUs, few of whose activations are near zero.
    No,
}

fn meaningful(name: &str, granularity: Granularity) -> Meaningful {
    match name {
        // The smaller a filter before a normalisation, the larger its gradient.
        "gradient" if granularity == Granularity::Filter => Meaningful::No,
        "bn_scale" | "taylor" | "fisher" | "activation" => Meaningful::AtOnce,
        "l1" | "l2" | "group_l2" | "contribution" | "fpgm" | "response" | "gradient" | "input_sensitivity" => {
            Meaningful::Recalibrated
        }
        "zero_rate" | "random" => Meaningful::No,
        other => panic!("say what removing by {other} must show"),
    }
}

/// Every criterion at every granularity at which it judges channels.
fn removing() -> impl Iterator<Item = (&'static str, Granularity)> {
    CRITERIA.iter().flat_map(|criterion| {
        let about = criterion.about();
        let judged = Granularity::REMOVED.iter().filter(move |granularity| about.form(**granularity).is_some());
        judged.map(move |&granularity| (about.name, granularity))
    })
}

#[test]
fn every_criterion_tells_what_matters() {
    let model = io::teacher().unwrap();
    let dataset = data(16, 16).dataset;
    let mut batches = Batches::eval(dataset.split("train").unwrap(), 64, 16).unwrap();
    let seen = batches.next().unwrap().unwrap().images;
    let recalibrated = |model: &Model| recalibrate_on(model, [Ok(seen.clone())]).unwrap();
    let whole = recalibrated(&model);
    for (name, granularity) in removing() {
        let pruner = pruner_of(&model, granularity, name).with_data(data(4, 2));
        let rows = pruner.scores().unwrap();
        assert!(rows.iter().all(|row| row.score.is_finite()), "{name}");
        let lowest = pruner.plan().unwrap();
        let [lowest, highest] = [&lowest, &highest(&lowest, &rows)].map(|plan| zero(&model, plan).unwrap());
        let (low, high) = match meaningful(name, granularity) {
            Meaningful::AtOnce => (change(&model, &lowest), change(&model, &highest)),
            Meaningful::Recalibrated => {
                (change(&whole, &recalibrated(&lowest)), change(&whole, &recalibrated(&highest)))
            }
            Meaningful::No => continue,
        };
        assert!(low < high, "{name} {granularity}: {low} when the lowest go, {high} when the highest");
    }
}

#[test]
fn the_list_is_complete_and_documented() {
    let readme = include_str!("../../README.md");
    let mut names = std::collections::HashSet::new();
    let model = fixture(0, 1);
    for criterion in CRITERIA.iter().filter(|criterion| criterion.about().form(Granularity::Channel).is_some()) {
        let about = criterion.about();
        for name in [about.name].iter().chain(about.aliases) {
            assert!(names.insert(*name), "{name} is listed twice");
            assert_eq!(super::criterion(name).unwrap().about(), about);
        }
        for form in about.forms {
            for &granularity in form.granularities {
                assert_eq!(about.form(granularity), Some(form), "{} at {granularity} has two forms", about.name);
                assert_eq!(form.data, criterion.needs(&model, granularity).data(), "{} {granularity}", about.name);
            }
            let Form { data, formula, .. } = form;
            let formula = formula.replace('|', "\\|");
            let (name, strategy, paper) = (about.name, about.strategy, about.paper);
            let row = format!("| `{name}` | {strategy} | {} | {} | {formula} | {paper} |", form.names(), data.name());
            assert!(readme.contains(&row), "the README lacks the line\n{row}");
        }
    }
    let default = |granularity| default_criterion(granularity, None).unwrap().about().name;
    assert_eq!(Granularity::REMOVED.iter().copied().map(default).collect::<Vec<_>>(), ["group_l2", "l2"]);
    assert!(Granularity::MASKED.iter().all(|&granularity| default(granularity) == "magnitude"));
    for &granularity in Granularity::REMOVED.iter().chain(Granularity::MASKED) {
        let of = |strategy| default_criterion(granularity, Some(strategy)).unwrap().about().name;
        let defaults = [Strategy::Sensitivity, Strategy::Sparsity, Strategy::Control].map(of);
        assert_eq!(defaults, ["taylor", "zero_rate", "random"]);
    }
}

#[test]
fn activations_are_measured_once_and_in_batches() {
    // ReLU gives exact zeros, so that batches do not matter.
    let model = fixture(3, 2);
    let scores = |batch| pruner(&model, "apoz").with_data(data(4, batch)).scores().unwrap();
    let whole = scores(4);
    assert_eq!(whole, scores(1));
    assert!(whole.iter().any(|row| row.score > 0.0) && whole.iter().all(|row| (0.0..=1.0).contains(&row.score)));
    let measured = pruner(&model, "zero_rate").with_data(data(4, 4));
    measured.measure(&Silent).unwrap();
    // Neither it nor a clone asks again, so that nobody can stop it.
    measured.clone().measure(&Stop(AtomicBool::new(false))).unwrap();
    assert_eq!(measured.scores().unwrap(), whole);
}

/// Asks to stop at once.
struct Stop(AtomicBool);

impl Progress for Stop {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64, _: &str) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn stop_requested(&self) -> bool {
        true
    }
}

#[test]
fn taylor_is_the_squared_product_with_the_gradient_of_single_images() {
    let model = io::teacher().unwrap();
    // On candle's own operations.
    let batches = Batches::eval(data(3, 1).dataset.split("train").unwrap(), 64, 1).unwrap().take(3);
    let running = TrainOptions { statistics: NormStatistics::Running, ..TrainOptions::default() };
    let gains = Gains::default().for_training(model.detector(), 64);
    let loss = DetectionLoss::new(model.detector(), &gains).unwrap();
    let images: Vec<_> = batches
        .map(|batch| {
            let batch = batch.unwrap();
            let tape = exec::train_with(Backend::Reference, &model, &batch.images, &running).unwrap();
            let outputs = loss.compute(&tape.values.outputs, &batch.targets).unwrap().gradients;
            let outputs = outputs.into_iter().map(Some).collect();
            tape.backward(&ValueGradients { outputs, ..ValueGradients::default() }).unwrap().tensors
        })
        .collect();
    let groups = Groups::of(model.graph()).unwrap();
    for granularity in [Granularity::Channel, Granularity::Filter] {
        // Whatever the batches.
        let rows = pruner_of(&model, granularity, "taylor").with_data(data(3, 2)).scores().unwrap();
        let (mut checked, mut coupled) = (0, 0);
        for group in groups.all() {
            let (nodes, suffixes): (&Vec<NodeId>, &[&str]) = match granularity {
                Granularity::Filter => (&group.producers, &["weight"]),
                _ => (&group.norms, &["weight", "bias"]),
            };
            let name = |&node: &NodeId| suffixes.iter().map(move |&suffix| (node, suffix));
            let of_image = |gradients: &Tensors| {
                let mut sums = vec![0.0; group.coupled.len()];
                for (node, suffix) in nodes.iter().flat_map(name) {
                    let name = model.graph().node(node).tensor_name(suffix);
                    let products = (&model.tensors()[&name] * &gradients[&name]).unwrap();
                    let products = products.reshape((groups.labels(node).len(), ())).unwrap().sum(1).unwrap();
                    for (channel, product) in groups.labels(node).iter().zip(products.to_vec1::<f32>().unwrap()) {
                        if let Some(place) = group.coupled.iter().position(|own| own == channel) {
                            sums[place] += f64::from(product);
                        }
                    }
                }
                sums
            };
            let images: Vec<Vec<f64>> = images.iter().map(of_image).collect();
            for (place, row) in rows.iter().filter(|row| row.group == group.name).enumerate() {
                let expected = images.iter().map(|sums| sums[place].powi(2)).sum::<f64>() / 3.0;
                let close = (row.score - expected).abs() <= 1e-2 * expected + 1e-9;
                assert!(close, "{granularity} {} {place}: {} {expected}", row.layer, row.score);
                checked += 1;
                coupled += usize::from(group.producers.len() > 1);
            }
        }
        assert!(checked > 100 && coupled > 4 && rows.iter().any(|row| row.score > 1e-6), "{checked} {coupled}");
    }
}

#[test]
fn data_that_is_missing_or_stopped_is_an_error() {
    let model = fixture(3, 2);
    let missing = pruner(&model, "zero_rate").plan().unwrap_err().to_string();
    assert!(missing.contains("zero_rate") && missing.contains("images"), "{missing}");
    let classes = pruner(&model, "taylor").with_data(data(1, 1)).plan().unwrap_err().to_string();
    assert!(classes.contains("classes"), "{classes}");
    let stop = Stop(AtomicBool::new(false));
    let stopped = pruner(&model, "zero_rate").with_data(data(4, 1)).measure(&stop).unwrap_err().to_string();
    assert!(stopped.contains("stopped after 1 of 4"), "{stopped}");
    assert!(stop.0.load(Ordering::Relaxed));
    let mut absent = data(1, 1);
    absent.options.split = "nowhere".into();
    let absent = pruner(&model, "zero_rate").with_data(absent).scores().unwrap_err().to_string();
    assert!(absent.contains("nowhere"), "{absent}");
}

#[test]
fn scores_that_are_not_finite_name_the_layer() {
    let model = fixture(0, 1);
    let mut tensors = model.tensors().clone();
    let weight = &tensors["model.3.conv.weight"];
    tensors.insert("model.3.conv.weight".into(), (weight * f64::NAN).unwrap());
    let broken = model.with_tensors(tensors).unwrap();
    let error = pruner(&broken, "l1").plan().unwrap_err().to_string();
    assert!(error.contains("model.3.conv") && error.contains("l1"), "{error}");
}

#[test]
fn gradients_that_are_not_finite_name_criterion_and_layer() {
    let model = io::teacher().unwrap();
    let (id, _) = model.convolutions().nth(3).unwrap();
    let name = model.graph().node(id).name.clone();
    let mut tensors = model.tensors().clone();
    let weight = &tensors[&format!("{name}.weight")];
    tensors.insert(format!("{name}.weight"), (weight * f64::NAN).unwrap());
    let broken = model.with_tensors(tensors).unwrap();
    for importance in ["taylor", "gradient", "fisher"] {
        let error = pruner(&broken, importance).with_data(data(2, 2)).plan().unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains(importance) && error.contains("choose"), "{error}");
    }
    // What flows is told by the layer behind.
    let error = pruner(&broken, "activation").with_data(data(2, 2)).plan().unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
}

#[test]
fn a_criterion_is_of_its_granularities_and_strategy() {
    let model = fixture(0, 1);
    let asked = |options: PruneOptions| match Pruner::new(&model, options) {
        Ok(pruner) => pruner.options().importance.clone().unwrap(),
        Err(error) => error.to_string(),
    };
    let options = |granularity, importance: Option<&str>, strategy| PruneOptions {
        granularity,
        importance: importance.map(str::to_owned),
        strategy,
        ..PruneOptions::default()
    };
    let filter = Granularity::Filter;
    assert_eq!(asked(options(filter, None, Some(Strategy::Sensitivity))), "taylor");
    assert_eq!(asked(options(filter, Some("zero_rate"), Some(Strategy::Sparsity))), "zero_rate");
    let wrong = asked(options(filter, Some("bn_scale"), None));
    assert!(wrong.contains("of granularity channel, not filter") && wrong.contains("fpgm"), "{wrong}");
    assert!(wrong.contains("the default is l2"), "{wrong}");
    let other = asked(options(filter, Some("l1"), Some(Strategy::Sensitivity)));
    assert!(other.contains("of strategy importance, not sensitivity") && other.contains("fisher"), "{other}");
    // What makes groups comparable is asked for where they compete.
    let idle = asked(PruneOptions { per: Per::Macs, ..PruneOptions::default() });
    assert!(idle.contains("per") && idle.contains("scope global"), "{idle}");
    let idle = asked(PruneOptions { normalize: Normalize::Rank, ..PruneOptions::default() });
    assert!(idle.contains("normalize") && idle.contains("scope global"), "{idle}");
}

#[test]
fn a_criterion_of_ones_own_is_asked_once_a_group() {
    use std::sync::{Arc, atomic::AtomicUsize};
    let model = fixture(3, 2);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let own = OwnCriterion::new(move |group: &GroupScores| {
        counted.fetch_add(1, Ordering::Relaxed);
        let costs = (group.macs + group.params) as f64;
        Ok(group.scores["l2"].iter().map(|norm| norm * norm + costs).collect())
    });
    let own = Pruner::with_criterion(&model, loose(Amount::Ratio(0.25)), own).unwrap();
    let rows = own.scores().unwrap();
    own.clone().plan().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), own.groups().all().len());
    for (row, norm) in rows.iter().zip(pruner(&model, "l2").scores().unwrap()) {
        let expected = norm.score.powi(2) + (norm.macs + norm.params) as f64;
        assert!((row.score - expected).abs() <= 1e-9 * expected);
    }
    // The same of the model that it leaves.
    let slim = own.prune().unwrap();
    assert!(own.of(&slim).unwrap().scores().unwrap().len() < rows.len());
    for (given, expected) in [(vec![1.0; 3], "gave 3 scores"), (vec![1.0; 1000], "gave 1000 scores")] {
        let own = OwnCriterion::new(move |_: &GroupScores| Ok(given.clone()));
        let error = Pruner::with_criterion(&model, loose(Amount::Ratio(0.25)), own).unwrap().plan().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let own = OwnCriterion::new(|_: &GroupScores| Err("no".into()));
    let options = PruneOptions { granularity: Granularity::NM, ..PruneOptions::default() };
    let error = Pruner::with_criterion(&model, options, own).unwrap_err().to_string();
    assert!(error.contains("function") && error.contains("n:m"), "{error}");
}
