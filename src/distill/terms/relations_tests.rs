//! Terms that see no difference between multiples, against their formulas by hand on images of two channels.

use candle_core::{Device, Tensor};

use super::{
    super::recipe::Recipe,
    attention::Attention,
    hand_tests::{as_made, near, value_of},
    rkd::Relations,
    sp::Similarity,
};
use crate::{
    graph::{Conv, Graph, Op},
    model::{Model, Tensors, fixtures::headless},
};

/// Images of two channels and two places each.
const IMAGES: [[[f64; 2]; 2]; 3] = [[[1.0, 2.0], [0.5, -1.0]], [[-0.5, 3.0], [2.0, 0.25]], [[0.25, -1.0], [1.5, 1.0]]];

/// What both make of a place's two channels.
const TEACHER: [[f64; 2]; 2] = [[1.0, -2.0], [0.5, 1.0]];
const STUDENT: [[f64; 2]; 2] = [[0.5, 1.5], [-1.0, 0.25]];

fn network(weight: [[f64; 2]; 2]) -> Model {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 2 }, &[]);
    let conv = graph.add("model.0.conv", Op::Conv(Conv::same(2, 2, 1, 1)), &[image]);
    graph.set_outputs(vec![conv]);
    let weight: Vec<f32> = weight.iter().flatten().map(|&number| number as f32).collect();
    let weight = Tensor::from_vec(weight, (2, 2, 1, 1), &Device::Cpu).unwrap();
    headless(graph, Tensors::from([("model.0.conv.weight".to_string(), weight)]))
}

fn value(recipe: &dyn Recipe) -> f64 {
    let pixels: Vec<f32> = IMAGES.iter().flatten().flatten().map(|&pixel| pixel as f32).collect();
    let images = Tensor::from_vec(pixels, (3, 2, 1, 2), &Device::Cpu).unwrap();
    value_of(recipe, [&network(TEACHER), &network(STUDENT)], &images, as_made)
}

/// Features of image n: [channel][place].
fn features(weight: [[f64; 2]; 2], image: usize) -> [[f64; 2]; 2] {
    let at = |channel: usize, place: usize| (0..2).map(|from| weight[channel][from] * IMAGES[image][from][place]).sum();
    [0, 1].map(|channel| [0, 1].map(|place| at(channel, place)))
}

fn length(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum::<f64>().sqrt()
}

fn squares(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

#[test]
fn at() {
    let map = |weight, image| {
        let [first, second] = features(weight, image);
        let map = [0, 1].map(|place| (first[place] * first[place] + second[place] * second[place]) / 2.0);
        map.map(|number| number / length(&map))
    };
    let apart: f64 = (0..3).map(|image| squares(&map(TEACHER, image), &map(STUDENT, image))).sum();
    near(value(&Attention::default()), 0.5 * apart / 3.0);
}

#[test]
fn sp() {
    let row = |weight, image: usize| {
        let [own, others] = [image..image + 1, 0..3].map(|range| range.map(|at| features(weight, at).concat()));
        let own = own.flatten().collect::<Vec<f64>>();
        let products = others.map(|other| own.iter().zip(other).map(|(a, b)| a * b).sum());
        let products: Vec<f64> = products.collect();
        products.iter().map(|product| product / length(&products)).collect::<Vec<f64>>()
    };
    let apart: f64 = (0..3).map(|image| squares(&row(TEACHER, image), &row(STUDENT, image))).sum();
    near(value(&Similarity::default()), 0.5 * apart / 9.0);
}

#[test]
fn rkd() {
    let smooth = |apart: f64| if apart.abs() < 1.0 { apart * apart / 2.0 } else { apart.abs() - 0.5 };
    let means = |weight| [0, 1, 2].map(|image| features(weight, image).map(|places| (places[0] + places[1]) / 2.0));
    let way = |weight, from: usize, to: usize| {
        let all = means(weight);
        [all[to][0] - all[from][0], all[to][1] - all[from][1]]
    };
    let pairs = || (0..3).flat_map(|a| (0..3).map(move |b| (a, b))).filter(|(a, b)| a != b);
    let distance = |weight, a, b| {
        let mean = pairs().map(|(a, b)| length(&way(weight, a, b))).sum::<f64>() / 6.0;
        length(&way(weight, a, b)) / mean
    };
    // An image's distance from itself is 0 for both, an angle with it too.
    let distances: f64 = pairs().map(|(a, b)| smooth(distance(TEACHER, a, b) - distance(STUDENT, a, b))).sum();
    let cosine = |weight, at, a, b| {
        let [a, b] = [way(weight, at, a), way(weight, at, b)];
        (a[0] * b[0] + a[1] * b[1]) / length(&a) / length(&b)
    };
    let corners = (0..3).flat_map(|at| pairs().map(move |(a, b)| (at, a, b))).filter(|&(at, a, b)| a != at && b != at);
    let angles: f64 = corners.map(|(at, a, b)| smooth(cosine(TEACHER, at, a, b) - cosine(STUDENT, at, a, b))).sum();
    near(value(&Relations { angles: 3.0, ..Relations::default() }), 0.5 * (distances / 9.0 + 3.0 * angles / 27.0));
}
