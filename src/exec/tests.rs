//! The two paths against each other over many small networks, and the reference against finite differences.

use candle_core::DType;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{
    graph::{Activation, BatchNorm, Conv, MaxPool, Op, Role},
    zoo,
};

fn norm(channels: usize) -> Op {
    Op::BatchNorm(BatchNorm { channels, eps: 1e-3, momentum: 0.03 })
}

/// A model without a detector's head around a graph, with random tensors.
fn model(graph: Graph, seed: u64) -> Model {
    graph.validate().unwrap();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut tensors = Tensors::new();
    for (_, name, parameter) in graph.parameters() {
        let count: usize = parameter.shape.iter().product();
        let reach = (3.0 / (count / parameter.shape[0]) as f32).sqrt();
        let number = |random: &mut SmallRng| match parameter.role {
            Role::Weight => random.random_range(-reach..reach),
            Role::NormScale | Role::RunningVar => random.random_range(0.5..1.5),
            Role::Bias | Role::NormShift | Role::RunningMean => random.random_range(-0.5..0.5f32),
        };
        let numbers: Vec<f32> = (0..count).map(|_| number(&mut random)).collect();
        tensors.insert(name, Tensor::from_vec(numbers, parameter.shape, &Device::Cpu).unwrap());
    }
    crate::model::fixtures::headless(graph, tensors)
}

fn random_tensor(shape: &[usize], seed: u64) -> Tensor {
    let mut random = SmallRng::seed_from_u64(seed);
    let count: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|_| random.random_range(-1.0..1.0f32)).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Two branches with an addition, a concatenation of different widths, slices, pooling and upsampling.
fn branches(activation: Activation) -> Graph {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 3 }, &[]);
    let stem = graph.add("stem.conv", Op::Conv(Conv::same(3, 6, 3, 2)), &[image]);
    let stem = graph.add("stem.bn", norm(6), &[stem]);
    let stem = graph.add("stem.act", Op::Activation(activation), &[stem]);
    let left = graph.add("left", Op::Slice { start: 0, len: 2 }, &[stem]);
    let right = graph.add("right", Op::Slice { start: 2, len: 4 }, &[stem]);
    let conv = graph.add("right.conv", Op::Conv(Conv::same(4, 4, 3, 1)), &[right]);
    let normed = graph.add("right.bn", norm(4), &[conv]);
    let acted = graph.add("right.act", Op::Activation(activation), &[normed]);
    let sum = graph.add("add", Op::Add, &[right, acted]);
    let pool = graph.add("pool", Op::MaxPool(MaxPool { kernel: 5, stride: 1, padding: 2 }), &[sum]);
    let again = graph.add("pool2", Op::MaxPool(MaxPool { kernel: 5, stride: 1, padding: 2 }), &[pool]);
    let cat = graph.add("cat", Op::Concat, &[left, right, sum, pool, again]);
    let down = graph.add("down", Op::Conv(Conv::same(18, 7, 3, 2)), &[cat]);
    let lonely = graph.add("down.bn", norm(7), &[down]);
    let up = graph.add("up", Op::Upsample { scale: 2 }, &[lonely]);
    let head = graph.add("head", Op::Conv(Conv { bias: true, ..Conv::same(7, 5, 1, 1) }), &[up]);
    graph.set_outputs(vec![head, lonely, sum]);
    graph
}

fn single(op: Op, channels: usize) -> Graph {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels }, &[]);
    let first = graph.add("first", Op::Conv(Conv::same(channels, channels, 1, 1)), &[image]);
    let node = graph.add("op", op, &[first]);
    graph.set_outputs(vec![node]);
    graph
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (numbers(found), numbers(expected));
    let scale = expected.iter().fold(1e-2f32, |most, number| most.max(number.abs()));
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= 2e-4 * scale, "{what}[{index}]: {a} against {b}, scale {scale}");
    }
}

/// Both paths give the same values, averages and gradients.
fn compare(what: &str, graph: Graph, images: [usize; 4], taps: &[&str]) {
    let model = model(graph, 7);
    let taps: Vec<NodeId> = taps.iter().map(|name| model.graph().find(name).unwrap()).collect();
    let images = random_tensor(&images, 3);
    let run = |path| {
        let inferred = Inference::with_backend(path, &model, &taps).unwrap().run(&images).unwrap();
        let tape = train_with(path, &model, &images, &taps).unwrap();
        let seeded = |(index, value): (usize, &Tensor)| Some(random_tensor(value.dims(), 11 + index as u64));
        let gradients = ValueGradients {
            outputs: tape.values.outputs.iter().enumerate().map(seeded).collect(),
            taps: tape.values.taps.iter().map(|(&id, value)| (id, random_tensor(value.dims(), 99))).collect(),
        };
        let (values, running) = (tape.values.clone(), tape.running.clone());
        (inferred, values, running, tape.backward(&gradients).unwrap())
    };
    let (reference, fast) = (run(Backend::Reference), run(Backend::Fast(ComputeDtype::Fp32)));
    for (mode, found, expected) in [("infer", &fast.0, &reference.0), ("train", &fast.1, &reference.1)] {
        for (index, (a, b)) in found.outputs.iter().zip(&expected.outputs).enumerate() {
            assert_close(&format!("{what} {mode} output {index}"), a, b);
        }
        for (id, value) in &expected.taps {
            assert_close(&format!("{what} {mode} tap {id}"), &found.taps[id], value);
        }
    }
    for (kind, found, expected) in [("running", &fast.2, &reference.2), ("gradient", &fast.3, &reference.3)] {
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what} {kind}");
        for (name, value) in expected {
            assert_close(&format!("{what} {kind} {name}"), &found[name], value);
        }
    }
}

#[test]
fn the_paths_agree_on_every_operation() {
    let conv = |kernel, stride, padding, dilation, groups| {
        let sizes = Conv { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], ..Conv::same(6, 6, 1, 1) };
        Op::Conv(Conv { dilation: [dilation; 2], groups, bias: true, ..sizes })
    };
    for (kernel, stride, padding, dilation, groups) in [
        (3, 1, 1, 1, 1),
        (3, 2, 1, 1, 1),
        (6, 2, 2, 1, 1),
        (3, 1, 2, 2, 1),
        (3, 2, 1, 1, 6),
        (3, 1, 1, 1, 2),
        (5, 3, 0, 1, 3),
        (1, 1, 0, 1, 1),
        (3, 1, 3, 1, 1),
    ] {
        for [height, width] in [[9, 8], [7, 11], [12, 12]] {
            let what = format!("conv {kernel} {stride} {padding} {dilation} {groups} on {height}×{width}");
            compare(&what, single(conv(kernel, stride, padding, dilation, groups), 6), [2, 6, height, width], &[]);
        }
    }
    compare("one pixel", single(conv(3, 1, 1, 1, 1), 6), [1, 6, 1, 1], &[]);
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (5, 1, 2), (3, 1, 0)] {
        let pool = Op::MaxPool(MaxPool { kernel, stride, padding });
        compare(&format!("pool {kernel} {stride} {padding}"), single(pool, 3), [2, 3, 9, 10], &[]);
    }
    for activation in [Activation::Silu, Activation::Relu, Activation::LeakyRelu { slope: 0.1 }, Activation::Hardswish]
    {
        compare(&format!("{activation:?}"), branches(activation), [2, 3, 12, 16], &[]);
        compare(&format!("{activation:?} alone"), single(Op::Activation(activation), 3), [2, 3, 5, 4], &[]);
    }
    compare("taps", branches(Activation::Silu), [3, 3, 8, 20], &["right.bn", "cat", "right.conv"]);
    compare("batch of one", branches(Activation::Silu), [1, 3, 16, 8], &["stem.act"]);
}

#[test]
fn convolutions_take_their_normalisation_along() {
    let model = model(branches(Activation::Silu), 1);
    assert_eq!(Inference::with_backend(Backend::Fast(ComputeDtype::Fp32), &model, &[]).unwrap().ways().fused, 2);
    let tapped = model.graph().find("stem.bn").unwrap();
    assert_eq!(Inference::with_backend(Backend::Fast(ComputeDtype::Fp32), &model, &[tapped]).unwrap().ways().fused, 1);
}

#[test]
fn what_does_not_fit_is_named() {
    let model = model(branches(Activation::Silu), 1);
    let error = infer(&model, &random_tensor(&[1, 4, 8, 8], 1), &[]).unwrap_err().to_string();
    assert!(error.contains("[1, 4, 8, 8]") && error.contains("3 channels"), "{error}");
    let error = infer(&model, &random_tensor(&[3, 10, 10], 1), &[]).unwrap_err().to_string();
    assert!(error.contains("[3, 10, 10]") && error.contains("batch, channels"), "{error}");
    let tape = train(&model, &random_tensor(&[1, 3, 8, 8], 1), &[]).unwrap();
    let wrong = ValueGradients { outputs: vec![Some(random_tensor(&[1, 1], 1))], ..Default::default() };
    let error = tape.backward(&wrong).unwrap_err().to_string();
    assert!(error.contains("head") && error.contains("[1, 1]"), "{error}");
}

#[test]
fn the_reference_matches_finite_differences() {
    let model = model(branches(Activation::Silu), 5);
    let images = random_tensor(&[2, 3, 8, 12], 2);
    let forward = |tensors: &Tensors| reference::train(model.graph(), tensors, &images, &[]).unwrap();
    let tape = forward(model.tensors());
    let weights: Vec<Tensor> =
        tape.values.outputs.iter().map(|value| random_tensor(value.dims(), value.elem_count() as u64)).collect();
    let loss = |tensors: &Tensors| -> f64 {
        let product = |(value, weight): (&Tensor, &Tensor)| {
            let product = (value.to_dtype(DType::F64).unwrap() * weight.to_dtype(DType::F64).unwrap()).unwrap();
            product.sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        forward(tensors).values.outputs.iter().zip(&weights).map(product).sum()
    };
    let outputs = weights.iter().cloned().map(Some).collect();
    let gradients = tape.backward(&ValueGradients { outputs, ..Default::default() }).unwrap();
    assert_eq!(gradients.len(), model.graph().parameters().filter(|(_, _, p)| p.role.is_trainable()).count());
    for (name, gradient) in &gradients {
        let analytic = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let base = model.tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for index in [0, base.len() / 2, base.len() - 1] {
            let shifted = |delta: f32| {
                let mut numbers = base.clone();
                numbers[index] += delta;
                let mut changed = model.tensors().clone();
                let shape = model.tensors()[name].dims();
                changed.insert(name.clone(), Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap());
                loss(&changed)
            };
            let numeric = (shifted(1e-3) - shifted(-1e-3)) / 2e-3;
            let difference = (numeric - f64::from(analytic[index])).abs();
            let scale = numeric.abs().max(0.5);
            assert!(difference < 3e-2 * scale, "{name}[{index}]: {numeric} against {}", analytic[index]);
        }
    }
}

/// A slower way taken by mistake would cost no test anything but time.
#[test]
fn the_stock_models_run_the_fast_ways() {
    for (variant, fused, winograd) in [("yolov5n", 57, 11), ("yolov8n", 57, 32), ("yolov8s", 57, 32)] {
        let model = zoo::yolo(variant, &zoo::Fresh::numbered(80)).unwrap();
        let ways = Inference::new(&model, &[]).unwrap().ways();
        assert_eq!(ways, ConvolutionWays { fused, winograd }, "{variant}");
    }
}
