//! Small networks to run, and how their numbers are compared.

mod backends;
mod errors;
mod gradients;
mod observers;
mod starts;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{
    graph::{Activation, BatchNorm, Conv, Graph, MaxPool, NodeId, Op, Role},
    model::{Model, Tensors},
};

const BACKENDS: [Backend; 2] = [Backend::Reference, Backend::Fast(ComputeDtype::Fp32)];

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

/// A gradient for each output and tap, random but the same for the same shapes.
fn random_gradients(values: &Values) -> ValueGradients {
    let seeded = |(index, value): (usize, &Tensor)| Some(random_tensor(value.dims(), 11 + index as u64));
    ValueGradients {
        outputs: values.outputs.iter().enumerate().map(seeded).collect(),
        taps: values.taps.iter().map(|(&id, value)| (id, random_tensor(value.dims(), 99))).collect(),
    }
}

/// Σ value · gradient over the outputs, in double precision.
fn weighted_sum(values: &Values, gradients: &ValueGradients) -> f64 {
    let product = |(value, weight): (&Tensor, &Option<Tensor>)| {
        let (value, weight) = (numbers(value), numbers(weight.as_ref().unwrap()));
        value.iter().zip(&weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    values.outputs.iter().zip(&gradients.outputs).map(product).sum()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (numbers(found), numbers(expected));
    let scale = expected.iter().fold(1e-2f32, |most, number| most.max(number.abs()));
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= 2e-4 * scale, "{what}[{index}]: {a} against {b}, scale {scale}");
    }
}

/// The same tensors, or values, by name, or node.
fn assert_all_close<K: Ord + std::fmt::Debug>(what: &str, found: &BTreeMap<K, Tensor>, expected: &BTreeMap<K, Tensor>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (key, value) in expected {
        assert_close(&format!("{what} {key:?}"), &found[key], value);
    }
}
