//! What holds for every term: its minimum, its gradients, what they reach, that it can be learnt.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{
    Binary, DistillError, DistillOptions, Expression, TERMS, Terms, Unary, objective,
    tests::{data, pictures, settled as model, unscaled, weights},
};
use crate::{
    boxes::{Centred, Truth},
    data::{Augment, BatchOptions, Batches, Target},
    exec::{self, Values},
    model::{Model, Tensors, digest},
    options::Value,
    train::{FitOptions, LossGradients, Objective, OptimizerKind, Rates, Term, TermInput, Trainer, loss::Gains},
};

/// The one term of some options, with its tensors.
pub(super) fn term(
    teacher: &Model,
    student: &Model,
    options: &DistillOptions,
) -> Result<(Arc<dyn Term>, Tensors), DistillError> {
    let objective = objective(teacher, student, options, &Gains::default())?;
    let term = Arc::clone(&objective.terms()[1]);
    let tensors = term.tensors().unwrap();
    Ok((term, tensors))
}

/// Two boxes in the first image, none in the others.
pub(super) fn targets() -> Vec<Target> {
    let target = |class, cx, cy, w, h| Target { image: 0, truth: Truth { class, bounds: Centred { cx, cy, w, h } } };
    vec![target(0, 0.3, 0.4, 0.3, 0.5), target(1, 0.7, 0.6, 0.1, 0.1)]
}

/// A term's value and its gradients, half way through a run.
pub(super) fn compute(term: &dyn Term, student: &Model, values: &Values, tensors: &Tensors) -> (f64, LossGradients) {
    let (images, targets) = (images(), targets());
    let input = TermInput::new(&images, &targets, student, values, tensors, 0.5);
    let mut gradients = LossGradients::none(values.outputs.len());
    let parts = term.compute(&input, &mut gradients).unwrap();
    (parts[0], gradients)
}

/// So many that there are angles between them.
const BATCH: usize = 4;

fn images() -> Tensor {
    pictures(BATCH)
}

/// The mean of squares, as data.
fn squares() -> Expression {
    let apart = Expression::binary(Binary::Subtract, Expression::Teacher, Expression::Student);
    Expression::unary(Unary::Mean, Expression::Power(Box::new(apart), 2.0))
}

fn with_loss(options: DistillOptions) -> DistillOptions {
    let text = Value::Text(serde_json::to_string(&squares()).unwrap());
    DistillOptions { terms: options.terms.with_option("loss", "expression", text), ..options }
}

fn only(name: &str) -> DistillOptions {
    let options = weights(&[(name, 1.0)]);
    if name == "loss" { with_loss(options) } else { options }
}

/// A loss of one's own that says what `hint` says comes to the same.
#[test]
fn a_recorded_loss_is_what_it_says() {
    let (teacher, student) = (model("yolov5n", 0.0625, 1), model("yolov5n", 0.0625, 2));
    let found = ["hint", "loss"].map(|name| {
        let (term, tensors) = term(&teacher, &student, &only(name)).unwrap();
        compute(&*term, &student, &run(&student, &*term), &tensors)
    });
    let [(hint, hints), (own, owns)] = found;
    assert!((own - 2.0 * hint).abs() < 1e-5 * own, "{own} against twice {hint}");
    for (tap, gradient) in &owns.values().taps {
        let apart = (gradient - (&hints.values().taps[tap] * 2.0).unwrap()).unwrap();
        assert!(dot(&apart, &apart) < 1e-8 * dot(gradient, gradient));
    }
}

fn run(model: &Model, term: &dyn Term) -> Values {
    exec::infer(model, &images(), &term.taps()).unwrap()
}

/// All that a term can be given a gradient for.
fn leaves<'a>(values: &'a mut Values, tensors: &'a mut Tensors) -> Vec<&'a mut Tensor> {
    values.outputs.iter_mut().chain(values.taps.values_mut()).chain(tensors.values_mut()).collect()
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let [a, b] = [a, b].map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
}

#[test]
fn a_student_that_is_the_teacher_has_nothing_to_learn() {
    for variant in ["yolov5n", "yolov8n"] {
        let (teacher, other) = (model(variant, 0.0625, 1), model(variant, 0.0625, 2));
        // A generator makes nothing at first.
        for info in TERMS.iter().filter(|info| info.name != "mgd") {
            let (term, tensors) = term(&teacher, &teacher, &only(info.name)).unwrap();
            let (value, gradients) = compute(&*term, &teacher, &run(&teacher, &*term), &tensors);
            let name = format!("{variant} {}", info.name);
            assert!(value.abs() < 1e-3, "{name}: {value}");
            let values = gradients.values();
            for gradient in values.outputs.iter().flatten().chain(values.taps.values()) {
                let largest = gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                // An overlap of 1 is a kink: to either side it falls.
                assert!(largest < 5e-3 || info.name == "box_iou", "{name}: {largest}");
            }
            let (apart, _) = compute(&*term, &other, &run(&other, &*term), &tensors);
            assert!(apart > 10.0 * value.abs().max(1e-5), "{name}: {apart} against {value}");
        }
    }
}

/// Along a random direction of every leaf, the difference of values is what the gradients say.
#[test]
fn gradients_match_finite_differences() {
    let conv = |name: &str| {
        let terms = Terms::none().with(name, 1.0).with_option(name, "adapter", Value::Text("conv".into()));
        unscaled(terms)
    };
    // The parts of fgd differ in size; each is looked at alone.
    let whole = TERMS.iter().filter(|info| info.name != "fgd");
    let mut cases: Vec<(String, DistillOptions)> = whole.map(|info| (info.name.into(), only(info.name))).collect();
    cases.extend(["hint", "cwd", "crosskd"].map(|name| (format!("{name} conv"), conv(name))));
    let mut normal = only("cwd");
    normal.terms = normal.terms.with_option("cwd", "normalize", Value::Flag(true));
    cases.push(("cwd normalize".into(), normal));
    for part in ["foreground", "background", "attention", "relations"] {
        let mut alone = only("fgd");
        for key in ["foreground", "background", "attention", "relations"] {
            let weight = Value::Number(f64::from(u8::from(key == part)));
            alone.terms = alone.terms.with_option("fgd", key, weight);
        }
        cases.push((format!("fgd {part}"), alone));
    }
    for variant in ["yolov5n", "yolov8n"] {
        let (teacher, student) = (model(variant, 0.125, 1), model(variant, 0.0625, 2));
        for (name, options) in &cases {
            let (term, mut tensors) = term(&teacher, &student, options).unwrap();
            let mut random = ChaCha8Rng::seed_from_u64(7);
            // Some start at zero, where nothing reaches what is before them.
            for tensor in tensors.values_mut() {
                let count = tensor.elem_count();
                let noise: Vec<f32> = (0..count).map(|_| random.random_range(-0.1f32..0.1)).collect();
                *tensor = (&*tensor + Tensor::from_vec(noise, tensor.dims(), &Device::Cpu).unwrap()).unwrap();
            }
            let values = run(&student, &*term);
            let (value, gradients) = compute(&*term, &student, &values, &tensors);
            let own = gradients.tensors();
            assert!(own.keys().all(|key| tensors.contains_key(key)), "{variant} {name}: {:?}", own.keys());
            let all = own.len() == tensors.len() || name.starts_with("fgd ");
            assert!(all, "{variant} {name}: {:?} of {:?}", own.keys(), tensors.keys());
            let found: Vec<Option<Tensor>> = gradients
                .values()
                .outputs
                .iter()
                .cloned()
                .chain(values.taps.keys().map(|node| gradients.values().taps.get(node).cloned()))
                .chain(tensors.keys().map(|name| own.get(name).cloned()))
                .collect();
            let reached = found.iter().flatten().count();
            assert!(reached > 0, "{variant} {name}");
            for (index, gradient) in found.iter().enumerate() {
                let Some(gradient) = gradient else { continue };
                // Along the gradient itself and some noise, so that what is missing shows.
                let length = dot(gradient, gradient).sqrt().max(1e-12);
                let noise: Vec<f32> = (0..gradient.elem_count()).map(|_| random.random_range(-1.0f32..1.0)).collect();
                let noise = Tensor::from_vec(noise, gradient.dims(), &Device::Cpu).unwrap();
                let noise = (&noise * (0.5 / dot(&noise, &noise).sqrt())).unwrap();
                let direction = ((gradient / length).unwrap() + noise).unwrap();
                let at = |step: f64| {
                    let (mut values, mut tensors) = (values.clone(), tensors.clone());
                    let leaf = leaves(&mut values, &mut tensors).remove(index);
                    *leaf = (&*leaf + (&direction * step).unwrap()).unwrap();
                    compute(&*term, &student, &values, &tensors).0
                };
                let expected = dot(gradient, &direction);
                // What single precision cannot tell apart is no error.
                let error = |step: f64| {
                    let numeric = BATCH as f64 * (at(step) - at(-step)) / (2.0 * step);
                    let unsure = 2.0 * 3e-7 * value.abs() / step;
                    ((numeric - expected).abs() - unsure).max(0.0) / expected.abs().max(1e-9)
                };
                // Kinks want small steps, rounding large ones.
                let mut errors = Vec::new();
                let close = [3e-2, 1e-2, 1e-1, 3e-3, 1e-3, 3e-1].into_iter().any(|step| {
                    let found = error(step);
                    errors.push(found);
                    found < 2e-2
                });
                assert!(close, "{variant} {name} leaf {index}: {errors:?} of {expected}, value {value}");
            }
        }
    }
}

#[test]
fn the_teacher_stays_as_it_is() {
    let (teacher, student) = (model("yolov8n", 0.125, 1), model("yolov8n", 0.0625, 2));
    let before = digest(teacher.tensors()).unwrap();
    let all: Vec<(&str, f32)> = TERMS.iter().map(|info| (info.name, 1.0)).collect();
    let objective = objective(&teacher, &student, &with_loss(weights(&all)), &Gains::default()).unwrap();
    let values = exec::infer(&student, &images(), &objective.taps()).unwrap();
    let (images, targets, tensors) = (images(), targets(), objective.tensors().unwrap());
    let value = objective.compute(&TermInput::new(&images, &targets, &student, &values, &tensors, 0.0)).unwrap();
    assert!(value.parts.iter().all(|part| part.is_finite() && *part >= 0.0), "{:?}", value.parts);
    let reached: Vec<&String> = value.gradients.tensors().keys().collect();
    assert!(reached.iter().all(|name| name.starts_with("distill.")), "{reached:?}");
    assert_eq!(digest(teacher.tensors()).unwrap(), before);
}

#[test]
fn each_falls_on_a_fixed_batch() {
    for variant in ["yolov5n", "yolov8n"] {
        let (teacher, student) = (model(variant, 0.125, 1), model(variant, 0.0625, 2));
        let batches = BatchOptions { size: 64, batch: 4, augment: Augment::none(), ..BatchOptions::default() };
        let data = data();
        let batch = Batches::train(data.split("train").unwrap(), &batches).unwrap().next().unwrap().unwrap();
        for info in TERMS {
            let (term, tensors) = term(&teacher, &student, &only(info.name)).unwrap();
            let objective = Objective::new([term]);
            let fit = FitOptions { optimizer: OptimizerKind::AdamW, ema: false, ..FitOptions::default() };
            let mut trainer = Trainer::new(&student, &tensors, &fit, 20).unwrap();
            let rates = Rates { lr: [1e-2; 3], momentum: 0.9 };
            // What mgd masks depends on the progress.
            let mut step = || trainer.step(&batch.images, &batch.targets, &objective, &rates, 0.0).unwrap();
            let losses: Vec<f64> = (0..20).map(|_| step().total).collect();
            assert!(losses[19] < 0.9 * losses[0], "{variant} {}: {losses:?}", info.name);
        }
    }
}

/// The decoded boxes and confidences are those of evaluation.
#[test]
fn places_are_those_that_evaluation_decodes() {
    for variant in ["yolov5n", "yolov8n"] {
        let network = model(variant, 0.0625, 1);
        let outputs = exec::infer(&network, &images(), &[]).unwrap().outputs;
        let options = crate::eval::DecodeOptions { confidence: 0.0, multi_label: false, ..Default::default() };
        let decoded = crate::eval::decode(network.detector(), &outputs, options).unwrap();
        let levels = super::super::places::boxes(network.detector(), &outputs).unwrap();
        let mut found: Vec<[f32; 5]> = Vec::new();
        for (level, stride) in levels.iter().zip(&network.detector().strides) {
            let stride = *stride as f64;
            let corners = level.corners.iter().map(|side| (side * stride).unwrap());
            let all: Vec<Tensor> = corners.chain([level.confidence.clone()]).collect();
            // The second image's alone.
            let numbers: Vec<Vec<f32>> =
                all.iter().map(|side| side.get(1).unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect();
            found.extend((0..numbers[0].len()).map(|at| [0, 1, 2, 3, 4].map(|part| numbers[part][at])));
        }
        assert_eq!(found.len(), decoded[1].len(), "{variant}");
        for (found, decoded) in found.iter().zip(&decoded[1]) {
            let [left, top, right, bottom] = decoded.corners;
            let expected = [left, top, right, bottom, decoded.confidence];
            let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3 * b.abs().max(1.0));
            assert!(near, "{variant}: {found:?} against {expected:?}");
        }
    }
}

/// Through the teacher's head, the student's features give what a model of the student's neck and the teacher's head gives.
#[test]
fn crosskd_is_the_distance_of_a_model_with_the_teachers_head() {
    for variant in ["yolov5n", "yolov8n"] {
        let (teacher, student) = (model(variant, 0.0625, 1), model(variant, 0.0625, 2));
        let head = super::super::head::head_module(teacher.graph());
        let mixed = |(name, tensor): (&String, &Tensor)| match name.starts_with(&head) {
            true => (name.clone(), teacher.tensors()[name].clone()),
            false => (name.clone(), tensor.clone()),
        };
        let hybrid = student.with_tensors(student.tensors().iter().map(mixed).collect()).unwrap();
        let mut expected = 0.0;
        for name in ["logits", "boxes"] {
            let (term, tensors) = term(&teacher, &hybrid, &only(name)).unwrap();
            expected += compute(&*term, &hybrid, &run(&hybrid, &*term), &tensors).0;
        }
        let (term, tensors) = term(&teacher, &student, &only("crosskd")).unwrap();
        let (found, _) = compute(&*term, &student, &run(&student, &*term), &tensors);
        assert!((found - expected).abs() < 1e-4 * expected, "{variant}: {found} against {expected}");
    }
}

#[test]
fn a_term_takes_a_map_and_says_what_is_wrong_in_it() {
    let (teacher, student) = (model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2));
    let given = |term: &str, option: &str, value: Value| {
        let terms = Terms::none().with(term, 1.0).with_option(term, option, value);
        objective(&teacher, &student, &unscaled(terms), &Gains::default())
    };
    let text = |text: &str| Value::Text(text.into());
    let map = |teacher: &str, student: &str| Value::Map([(teacher.to_owned(), text(student))].into());
    let taps = |value: Value| given("hint", "taps", value).unwrap().taps().len();
    assert_eq!(taps(text("neck")), 3);
    assert_eq!(taps(text("backbone")), 3);
    assert_eq!(taps(text("model.[46]")), 2);
    assert_eq!(taps(Value::Texts(vec!["model.4".into(), "model.17".into()])), 2);
    assert_eq!(taps(map("model.17", "model.4")), 1);
    let refused = |term: &str, option: &str, value: Value, words: &[&str]| {
        let error = given(term, option, value).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(
        "hint",
        "tap",
        text("neck"),
        &["hint has no option \"tap\" (did you mean \"taps\"?)", "weight, from, until"],
    );
    refused("cwd", "temperature", Value::Number(0.0), &["\"temperature\" of cwd", "0.1"]);
    refused("hint", "adapter", text("convv"), &["did you mean \"conv\"?"]);
    refused("hint", "until", Value::Number(0.0), &["until", "above `from`"]);
    refused("logits", "where", text("positive"), &["did you mean \"positives\"?"]);
    refused("hint", "taps", text("model.99"), &["student", "`model.99`"]);
    refused(
        "hint",
        "taps",
        map("model.17", "model.6"),
        &["every 8 pixels", "every 16", "model.4, model.15, model.16, model.17 fit"],
    );
    refused("score_l2", "taps", text("model.1"), &["score_l2", "[8, 16, 32]", "every 4"]);
}

/// Nothing outside of its time; half of it half way down a line.
#[test]
fn timing_scales_value_and_gradients() {
    let (teacher, student) = (model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2));
    let timed = |options: &[(&str, Value)]| {
        let terms = options
            .iter()
            .fold(Terms::none().with("hint", 1.0), |terms, (key, value)| terms.with_option("hint", key, value.clone()));
        let (term, tensors) = term(&teacher, &student, &unscaled(terms)).unwrap();
        compute(&*term, &student, &run(&student, &*term), &tensors)
    };
    let (whole, gradients) = timed(&[("schedule", Value::Text("constant".into()))]);
    let (half, halved) = timed(&[]);
    assert!((half - 0.5 * whole).abs() < 1e-6 * whole);
    for (tap, gradient) in &gradients.values().taps {
        let apart = ((gradient * 0.5).unwrap() - &halved.values().taps[tap]).unwrap();
        assert!(dot(&apart, &apart) < 1e-10 * dot(gradient, gradient));
    }
    assert_eq!(halved.tensors().len(), gradients.tensors().len());
    let (none, gradients) = timed(&[("from", Value::Number(0.6))]);
    assert!(none == 0.0 && gradients.values().taps.is_empty() && gradients.tensors().is_empty());
}

/// A student that is its teacher without some channels, which the teacher has as zeros, says what the teacher says in those
/// that are left.
#[test]
fn a_pruned_student_is_compared_in_the_channels_that_it_kept() {
    for variant in ["yolov5n", "yolov8n"] {
        let teacher = model(variant, 0.25, 1);
        let options = crate::prune::PruneOptions {
            amount: crate::prune::Amount::Ratio(0.4),
            min_channels: 1.into(),
            round_to: 1,
            ..Default::default()
        };
        let student = crate::prune::Pruner::new(&teacher, options).unwrap().prune().unwrap();
        let given = |name: &str, key: &str, value: Value| {
            let text = |text: &str| Value::Text(text.into());
            let terms = Terms::none().with(name, 1.0).with_option(name, "adapter", text("kept"));
            let terms = terms.with_option(name, "schedule", text("constant"));
            unscaled(terms.with_option(name, key, value))
        };
        let compared = |teacher: &Model, student: &Model, options: &DistillOptions| {
            let (term, tensors) = term(teacher, student, options)?;
            Ok::<_, DistillError>((compute(&*term, student, &run(student, &*term), &tensors), tensors, term.taps()))
        };
        let ((found, _), tensors, taps) =
            compared(&teacher, &student, &given("hint", "taps", Value::Text("neck".into()))).unwrap();
        assert!(tensors.is_empty(), "{variant}: no weights");
        // By hand: the mean over the channels that are left, by the filters that the student says it kept.
        let run = |model: &Model| exec::infer(model, &images(), &taps).unwrap().taps;
        let (wanted, own) = (run(&teacher), run(&student));
        let mut expected = 0.0;
        for tap in &taps {
            let name = student.graph().node(*tap).name.replace(".act", ".conv");
            let filters = &student.provenance().kept[&name].filters;
            let mut sum = 0.0;
            for (at, filter) in filters.iter().enumerate() {
                let plane = |tensor: &Tensor, at: usize| tensor.narrow(1, at, 1).unwrap();
                let apart = (plane(&wanted[tap], *filter) - plane(&own[tap], at)).unwrap();
                sum += dot(&apart, &apart);
            }
            expected += 0.5 * sum / own[tap].elem_count() as f64;
        }
        assert!(expected > 1e-3 && (found - expected).abs() < 1e-4 * expected, "{variant}: {found} against {expected}");
        // The direct way of channel-wise distillation and that in candle's operations agree.
        let direct = given("cwd", "temperature", Value::Number(3.0));
        let ((direct, gradients), ..) = compared(&teacher, &student, &direct).unwrap();
        let softened = |tensor: &Tensor| {
            candle_nn::ops::log_softmax(&(tensor.flatten_from(2).unwrap() / 3.0).unwrap(), 2).unwrap()
        };
        let mut expected = 0.0;
        for tap in &taps {
            let name = student.graph().node(*tap).name.replace(".act", ".conv");
            let filters: Vec<u32> =
                student.provenance().kept[&name].filters.iter().map(|&filter| filter as u32).collect();
            let chosen = wanted[tap].index_select(&Tensor::new(filters, &Device::Cpu).unwrap(), 1).unwrap();
            let (wanted, found) = (softened(&chosen), softened(&own[tap]));
            let share = wanted.exp().unwrap();
            let planes = (own[tap].dim(0).unwrap() * own[tap].dim(1).unwrap()) as f64;
            expected += 9.0 * dot(&share, &(wanted - found).unwrap()) / planes;
        }
        assert!((direct - expected).abs() < 1e-3 * expected, "{variant}: {direct} against {expected}");
        assert_eq!(gradients.values().taps.len(), taps.len());
        // Others have kept nothing.
        let other = model(variant, 0.125, 2);
        let error =
            compared(&teacher, &other, &given("cwd", "taps", Value::Text("neck".into()))).err().unwrap().to_string();
        assert!(error.contains("pruned from its teacher"), "{error}");
        let error =
            compared(&teacher, &student, &given("crosskd", "boxes", Value::Number(1.0))).err().unwrap().to_string();
        assert!(error.contains("crosskd"), "{error}");
    }
}
