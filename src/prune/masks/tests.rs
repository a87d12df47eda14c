//! Masks as a whole: exact counts, through training, files and further pruning.

use std::collections::BTreeMap;

use super::{
    super::{
        criteria::WeightScores,
        fixtures,
        tests::{difference, loose},
        *,
    },
    *,
};
use crate::{
    data::{Dataset, ShapesOptions, shapes},
    distill::{DistillOptions, Distiller},
    graph::Role,
    io,
    model::Model,
    progress::Silent,
    testing::shared,
    train::{FitOptions, fit},
};

/// Every weight by its magnitude.
fn magnitudes(model: &Model) -> Vec<WeightScores> {
    let weights = model.graph().parameters().filter(|(_, _, parameter)| parameter.role == Role::Weight);
    let scores = |(node, name): (usize, String)| {
        let tensor = &model.tensors()[&name];
        let (a, b, c, d) = tensor.dims4().unwrap();
        let scores = tensor.abs().unwrap().flatten_all().unwrap().to_vec1().unwrap();
        WeightScores { node, name, shape: [a, b, c, d], scores }
    };
    weights.map(|(node, name, _)| scores((node, name))).collect()
}

fn options(granularity: Granularity) -> PruneOptions {
    PruneOptions { granularity, ..PruneOptions::default() }
}

fn ratio(granularity: Granularity, ratio: f64, scope: Scope) -> PruneOptions {
    PruneOptions { amount: Amount::Ratio(ratio), scope, ..options(granularity) }
}

fn plan(model: &Model, options: &PruneOptions) -> Plan {
    let rule = Rule::of(options, model.graph()).unwrap();
    let masks = select(model, &magnitudes(model), &rule).unwrap();
    Plan { model: model.provenance().name.clone(), size: 64, masks, ..Plan::default() }
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    model.tensors()[name].flatten_all().unwrap().to_vec1().unwrap()
}

/// How many of each weight's numbers are zero, by name, and how many there are.
fn zeros(model: &Model) -> BTreeMap<String, (usize, usize)> {
    let count = |found: WeightScores| {
        let values = values(model, &found.name);
        (found.name, (values.iter().filter(|value| **value == 0.0).count(), values.len()))
    };
    magnitudes(model).into_iter().map(count).collect()
}

fn share(count: usize, ratio: f64) -> usize {
    (count as f64 * ratio).round() as usize
}

#[test]
fn as_many_weights_are_zero_as_were_asked_for() {
    let model = io::teacher().unwrap();
    assert!(zeros(&model).values().all(|(zeros, _)| *zeros == 0));
    for asked in [0.0, 0.3, 0.7, 0.95] {
        let local = apply(&model, &plan(&model, &ratio(Granularity::Weight, asked, Scope::Local))).unwrap();
        for (name, (found, count)) in zeros(&local) {
            assert_eq!(found, share(count, asked).min(count - 1), "{name}");
        }
        let plan = plan(&model, &ratio(Granularity::Weight, asked, Scope::Global));
        let global = zeros(&apply(&model, &plan).unwrap());
        let [found, count] = [|(zeros, _): &(usize, usize)| *zeros, |(_, count): &(usize, usize)| *count]
            .map(|what| global.values().map(what).sum::<usize>());
        assert_eq!(found, share(count, asked));
        assert!(global.values().all(|(zeros, count)| zeros < count), "a layer was emptied");
        let rows = plan.report(&model).unwrap().masks;
        assert_eq!(rows.iter().map(|row| row.zeros.unwrap()).sum::<u64>(), found as u64);
        // Of the lowest scores: what stays is no smaller than what goes, but for a layer's last weight.
        let gone = magnitudes(&model).into_iter().flat_map(|scores| {
            let held = plan.masks[&scores.name].held().unwrap();
            scores.scores.into_iter().zip(held).collect::<Vec<_>>()
        });
        let (gone, kept): (Vec<_>, Vec<_>) = gone.partition(|(_, held)| *held);
        let largest = gone.iter().fold(0.0f32, |most, (score, _)| most.max(*score));
        assert!(kept.iter().filter(|(score, _)| *score < largest).count() <= global.len());
    }
}

#[test]
fn blocks_go_as_a_whole() {
    let model = io::teacher().unwrap();
    let wanted = PruneOptions { block: vec![4, 1], ..ratio(Granularity::Block, 0.5, Scope::Local) };
    let plan = plan(&model, &wanted);
    let masked = apply(&model, &plan).unwrap();
    for scores in magnitudes(&model) {
        let Some(tiling) = tiling::Tiling::new(scores.shape, Unit::Block { filters: 4, inputs: 1 }) else {
            assert!(scores.shape[0] % 4 != 0 && !plan.masks.contains_key(&scores.name));
            continue;
        };
        let values = values(&masked, &scores.name);
        let gone = (0..tiling.count()).filter(|&block| {
            let zero = tiling.weights(block).filter(|&at| values[at] == 0.0).count();
            assert!(zero == 0 || zero == tiling.size(), "{}", scores.name);
            zero > 0
        });
        assert_eq!(gone.count(), share(tiling.count(), 0.5).min(tiling.count() - 1), "{}", scores.name);
    }
}

/// Asserts that of every four weights along the input channels at least two are zero; gives how many such fours there are.
fn two_of_four(model: &Model) -> usize {
    let mut fours = 0;
    for scores in magnitudes(model) {
        let [filters, inputs, height, width] = scores.shape;
        let (values, positions) = (values(model, &scores.name), height * width);
        for filter in 0..filters {
            for (input, position) in (0..inputs / 4).flat_map(|four| (0..positions).map(move |p| (4 * four, p))) {
                if inputs % 4 == 0 {
                    let at = |offset| (filter * inputs + input + offset) * positions + position;
                    assert!((0..4).filter(|&i| values[at(i)] == 0.0).count() >= 2, "{}", scores.name);
                    fours += 1;
                }
            }
        }
    }
    fours
}

#[test]
fn two_of_every_four_stay_and_layers_that_do_not_divide_are_listed() {
    for name in ["yolov5n-bccd", "yolov8n-bccd"] {
        let Some(file) = shared(&format!("models/{name}.pt")) else { return };
        let model = io::load(file).unwrap();
        let plan = plan(&model, &options(Granularity::NM));
        let masked = apply(&model, &plan).unwrap();
        assert!(two_of_four(&masked) > 100_000);
        for (tensor, (found, count)) in zeros(&masked) {
            match tensor == "model.0.conv.weight" || model.tensors()[&tensor].dims()[1] % 4 != 0 {
                true => assert_eq!(found, 0, "{name} {tensor}"),
                false => assert_eq!(2 * found, count, "{name} {tensor}"),
            }
        }
        let rows = plan.report(&model).unwrap().masks;
        let whole: Vec<&str> = rows.iter().filter(|row| row.zeros.is_none()).map(|row| row.layer.as_str()).collect();
        assert!(whole.contains(&"model.0.conv") && rows.len() == magnitudes(&model).len(), "{whole:?}");
    }
}

#[test]
fn what_is_below_a_threshold_goes() {
    let model = fixtures::anchored(2);
    let below = PruneOptions { threshold: Some(0.05), ..options(Granularity::Weight) };
    let masked = apply(&model, &plan(&model, &below)).unwrap();
    for scores in magnitudes(&model) {
        let small = scores.scores.iter().filter(|score| **score < 0.05).count();
        assert_eq!(zeros(&masked)[&scores.name].0, small, "{}", scores.name);
    }
    assert!(zeros(&masked).values().any(|(zeros, _)| *zeros > 0));
}

#[test]
fn what_is_held_already_goes_first_and_stays() {
    let model = fixtures::anchored(2);
    let half = apply(&model, &plan(&model, &ratio(Granularity::Weight, 0.5, Scope::Global))).unwrap();
    // Whatever the scores say of them.
    let mut scores = magnitudes(&half);
    scores.iter_mut().flat_map(|scores| &mut scores.scores).for_each(|score| *score = -*score);
    let rule = Rule::of(&ratio(Granularity::Weight, 0.7, Scope::Global), half.graph()).unwrap();
    let masks = select(&half, &scores, &rule).unwrap();
    let more = apply(&half, &Plan { masks, size: 64, ..Plan::default() }).unwrap();
    for (name, (found, _)) in zeros(&half) {
        assert!(zeros(&more)[&name].0 >= found);
        let both = values(&half, &name).into_iter().zip(values(&more, &name));
        assert!(both.filter(|(before, _)| *before == 0.0).all(|(_, after)| after == 0.0));
    }
    let total = |model: &Model| zeros(model).values().map(|(zeros, _)| zeros).sum::<usize>();
    let count = zeros(&model).values().map(|(_, count)| count).sum::<usize>();
    assert_eq!((total(&half), total(&more)), (share(count, 0.5), share(count, 0.7)));
    // What a plan leaves out is still held.
    let none = apply(&half, &Plan { size: 64, ..Plan::default() }).unwrap();
    assert_eq!(zeros(&none), zeros(&half));
}

/// Whatever a criterion makes of them, what is zero by chance counts.
#[test]
fn every_criterion_gives_as_many_zeros() {
    let model = fixtures::anchored(2);
    let name = "model.0.conv.weight";
    let mut tensors = model.tensors().clone();
    tensors.insert(name.into(), tensors[name].relu().unwrap());
    let model = model.with_tensors(tensors).unwrap();
    let by_chance = zeros(&model)[name].0;
    assert!(by_chance > 10);
    let mut judged = 0;
    for criterion in CRITERIA {
        let about = criterion.about();
        for granularity in [Granularity::Weight, Granularity::Block] {
            if about.form(granularity).is_none_or(|form| form.data != Data::None) {
                continue;
            }
            for order in [Order::Lowest, Order::Highest] {
                let importance = Some(about.name.to_owned());
                let wanted = ratio(granularity, 0.75, Scope::Local);
                let pruner = Pruner::new(&model, PruneOptions { importance, order, ..wanted }).unwrap();
                let masked = pruner.prune().unwrap();
                let plan = pruner.plan().unwrap();
                for (name, (found, count)) in zeros(&masked) {
                    let exact = granularity == Granularity::Weight;
                    assert!(!exact || found == share(count, 0.75), "{} {name}: {found} of {count}", about.name);
                    assert!(exact || !plan.masks.contains_key(&name) || found >= share(count, 0.75) - 8, "{name}");
                }
                let last = masked.provenance().history.last().unwrap();
                assert!(last.starts_with("masked (local") && last.contains(about.name), "{last}");
                assert_eq!(pruner.mask_scores().unwrap().len(), zeros(&model).len());
            }
        }
        if about.form(Granularity::NM).is_some_and(|form| form.data == Data::None) {
            let importance = Some(about.name.to_owned());
            let pruner = Pruner::new(&model, PruneOptions { importance, ..options(Granularity::NM) }).unwrap();
            two_of_four(&pruner.prune().unwrap());
            judged += 1;
        }
    }
    assert!(judged >= 4, "{judged}");
    assert!(Pruner::new(&model, ratio(Granularity::Weight, 0.5, Scope::Local)).unwrap().scores().is_err());
}

#[test]
fn ignored_layers_stay_as_they_are() {
    let model = io::teacher().unwrap();
    let ignore = vec!["model.2".to_owned()];
    let masked =
        apply(&model, &plan(&model, &PruneOptions { ignore, ..ratio(Granularity::Weight, 0.5, Scope::Global) }));
    let of = |inside: bool| -> usize {
        let zeros = zeros(masked.as_ref().unwrap());
        zeros.into_iter().filter(|(name, _)| name.starts_with("model.2.") == inside).map(|(_, (zeros, _))| zeros).sum()
    };
    assert!(of(true) == 0 && of(false) > 0);
}

#[test]
fn plans_of_masks_are_files() {
    let model = fixtures::anchored(2);
    let mut wanted = plan(&model, &ratio(Granularity::Weight, 0.5, Scope::Local));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    wanted.save(&path).unwrap();
    let read = Plan::load(&path).unwrap();
    assert_eq!(read, wanted);
    assert_eq!(zeros(&apply(&model, &read).unwrap()), zeros(&apply(&model, &wanted).unwrap()));
    // Less than half a byte a weight.
    let weights: usize = zeros(&model).values().map(|(_, count)| count).sum();
    assert!(std::fs::metadata(&path).unwrap().len() < (weights / 2 + 200 * wanted.masks.len()) as u64);
    // Edited: a layer is left out.
    let (first, _) = wanted.masks.pop_first().unwrap();
    assert_eq!(zeros(&apply(&model, &wanted).unwrap())[&first].0, 0);
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = wanted.clone();
        change(&mut plan);
        assert_eq!(plan.report(&model).unwrap_err().to_string(), apply(&model, &plan).unwrap_err().to_string());
        apply(&model, &plan).unwrap_err().to_string()
    };
    let other = |plan: &mut Plan| {
        plan.masks.insert("model.99.conv.weight".into(), MaskPlan::new(&[1], &[true]));
    };
    assert!(refused(&other).contains("`model.99.conv.weight`") && refused(&other).contains("no such tensor"));
    let name = wanted.masks.keys().next().unwrap().clone();
    let shape = |plan: &mut Plan| plan.masks.get_mut(&name).unwrap().shape = vec![3, 3];
    assert!(refused(&shape).contains("[3, 3]") && refused(&shape).contains(&name), "{}", refused(&shape));
    let short = |plan: &mut Plan| {
        let of = plan.masks[&name].shape.clone();
        plan.masks.insert(name.clone(), MaskPlan::new(&of, &[true]));
    };
    assert!(refused(&short).contains("a digit for every four"), "{}", refused(&short));
}

#[test]
fn what_is_none_is_refused_in_words() {
    let model = fixtures::anchored(2);
    let error = |options: PruneOptions| Rule::of(&options, model.graph()).unwrap_err().to_string();
    for pattern in ["5:4", "4:4", "0:4", "2", "a:b", "1:1000"] {
        let text = error(PruneOptions { pattern: pattern.into(), ..options(Granularity::NM) });
        assert!(text.contains("\"pattern\"") && text.contains("such as \"2:4\"") && text.contains(pattern), "{text}");
    }
    for block in [vec![], vec![4], vec![4, 0], vec![1, 2, 3]] {
        let text = error(PruneOptions { block, ..ratio(Granularity::Block, 0.5, Scope::Local) });
        assert!(text.contains("\"block\"") && text.contains("[4, 1]"), "{text}");
    }
    let text = error(ratio(Granularity::NM, 0.5, Scope::Local));
    assert!(text.contains("\"ratio\"") && text.contains("n stay"), "{text}");
    let text = error(PruneOptions { amount: Amount::Params(0.3), ..options(Granularity::NM) });
    assert!(text.contains("params 0.3") && text.contains("pattern alone"), "{text}");
    for granularity in [Granularity::Weight, Granularity::Block] {
        let text = error(PruneOptions { amount: Amount::Macs(0.3), ..options(granularity) });
        assert!(text.contains("macs 0.3") && text.contains("no MACs") && text.contains("give ratio"), "{text}");
        assert!(error(options(granularity)).contains("the default"));
    }
    let text = error(PruneOptions { round_to: 8, ..ratio(Granularity::Weight, 0.5, Scope::Local) });
    assert!(text.contains("\"round_to\"") && text.contains("it is of channels"), "{text}");
    let ignore = vec!["model.99".to_owned()];
    assert!(error(PruneOptions { ignore, ..ratio(Granularity::Weight, 0.5, Scope::Local) }).contains("model.99"));
}

/// A built-in dataset of the teacher's classes.
fn data(model: &Model) -> Dataset {
    let classes = model.detector().classes.clone();
    shapes(&ShapesOptions { train: 8, val: 2, size: 64, seed: 3, classes }).unwrap()
}

/// How many weights each mask holds, all of which are zero.
fn held(model: &Model) -> BTreeMap<String, usize> {
    let count = |(name, mask): (&String, &candle_core::Tensor)| {
        let mask = mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let held = mask.iter().zip(values(model, name)).filter(|(kept, _)| **kept == 0.0);
        (name.clone(), held.inspect(|(_, value)| assert_eq!(*value, 0.0)).count())
    };
    model.masks().iter().map(count).collect()
}

#[test]
fn weights_stay_held_through_training_files_and_distillation() {
    let model = io::teacher().unwrap();
    let data = data(&model);
    let options = FitOptions { epochs: 3, batch: 4, size: 64, validate: false, ..FitOptions::default() };
    let pattern = plan(&model, &self::options(Granularity::NM));
    for (is_pattern, plan) in [(true, pattern), (false, plan(&model, &ratio(Granularity::Weight, 0.7, Scope::Global)))]
    {
        let masked = apply(&model, &plan).unwrap();
        let expected = held(&masked);
        let check = |what: &str, model: &Model| {
            assert_eq!(held(model), expected, "{what}");
            if is_pattern {
                assert!(two_of_four(model) > 0);
            }
        };
        check("applied", &masked);
        let trained = fit(&masked, &data, &options, &Silent).unwrap().last;
        check("trained", &trained);
        assert_ne!(values(&trained, "model.1.conv.weight"), values(&masked, "model.1.conv.weight"));
        let folder = tempfile::tempdir().unwrap();
        for precision in [io::Precision::Fp32, io::Precision::Fp16] {
            let path = folder.path().join("masked.safetensors");
            io::save(&trained, &path, precision).unwrap();
            let again = io::load(&path).unwrap();
            check("loaded", &again);
            let again = fit(&again, &data, &FitOptions { epochs: 1, ..options.clone() }, &Silent).unwrap().last;
            check("trained again", &again);
        }
        let distilled = Distiller::new(&model, &trained, DistillOptions::default()).unwrap();
        let distilled = distilled.fit(&data, &options, &Silent).unwrap().last;
        check("distilled", &distilled);
        let images = super::super::tests::images(64);
        check("recalibrated", &recalibrate_on(&distilled, [Ok(images)]).unwrap());
    }
}

#[test]
fn channels_of_a_masked_model_go_exactly() {
    for seed in 0..3 {
        let model = fixtures::anchored(seed);
        let masked = apply(&model, &plan(&model, &ratio(Granularity::Weight, 0.5, Scope::Global))).unwrap();
        let mut wanted = Pruner::new(&masked, loose(Amount::Ratio(0.3))).unwrap().plan().unwrap();
        let (zeroed, removed) = (zero(&masked, &wanted).unwrap(), apply(&masked, &wanted).unwrap());
        assert!(difference(&zeroed, &removed, 64) <= 1e-4);
        held(&removed);
        assert!(removed.masks().iter().all(|(name, mask)| mask.dims() == removed.tensors()[name].dims()));
        // A plan may do both at once.
        wanted.masks = plan(&model, &ratio(Granularity::Weight, 0.5, Scope::Global)).masks;
        assert!(difference(&removed, &apply(&model, &wanted).unwrap(), 64) <= 1e-6);
    }
}
