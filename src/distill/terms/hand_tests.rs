//! Terms against what their formulas come to by hand, on networks of one 1×1 convolution.

use candle_core::{Device, Tensor};

use super::{
    super::{features::FeaturePair, options::Terms, pair::Pair, recipe::Recipe, tests::unscaled},
    attention::Attention,
    channelwise::ChannelWise,
    fgd::Focal,
    hint::Hint,
    mgd::Generated,
    pkd::Pkd,
    rkd::Relations,
    sp::Similarity,
};
use crate::{
    boxes::{Centred, Truth},
    data::Target,
    exec::Values,
    graph::{Conv, Graph, Op},
    model::{Model, Tensors, fixtures::headless},
    train::{LossGradients, TermInput, loss::Gains},
};

/// Images of one channel and two places each: what the teacher sees.
const IMAGES: [[f64; 2]; 3] = [[1.0, 2.0], [-0.5, 3.0], [0.25, -1.0]];

/// The two channels that the teacher makes of each place, and those that the student does.
const TEACHER: [f64; 2] = [1.0, -2.0];
const STUDENT: [f64; 2] = [0.5, 1.5];

fn model(weight: [f64; 2]) -> Model {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 1 }, &[]);
    let conv = graph.add("model.0.conv", Op::Conv(Conv::same(1, 2, 1, 1)), &[image]);
    graph.set_outputs(vec![conv]);
    let weight = Tensor::new(&weight.map(|number| number as f32), &Device::Cpu).unwrap().reshape((2, 1, 1, 1)).unwrap();
    headless(graph, Tensors::from([("model.0.conv.weight".to_string(), weight)]))
}

/// Features of image n, channel c, place p.
fn features(weight: [f64; 2]) -> impl Fn(usize, usize, usize) -> f64 {
    move |image, channel, place| weight[channel] * IMAGES[image][place]
}

fn images() -> Tensor {
    let pixels: Vec<f32> = IMAGES.iter().flatten().map(|&pixel| pixel as f32).collect();
    Tensor::from_vec(pixels, (3, 1, 1, 2), &Device::Cpu).unwrap()
}

/// The term that a recipe makes, for half of its value; `change` may set its tensors.
fn value(recipe: &dyn Recipe, change: impl Fn(&str, &Tensor) -> Tensor) -> f64 {
    value_of(recipe, [&model(TEACHER), &model(STUDENT)], &images(), change)
}

/// The same for any teacher, student and images.
pub(super) fn value_of(
    recipe: &dyn Recipe,
    [teacher, student]: [&Model; 2],
    images: &Tensor,
    change: impl Fn(&str, &Tensor) -> Tensor,
) -> f64 {
    let options = unscaled(Terms::none());
    let gains = Gains::default();
    let pair = Pair::new(std::slice::from_ref(teacher), student, &options, &gains, &[1]).unwrap();
    let level = FeaturePair { teacher: 1, student: 1, teacher_width: 2, student_width: 2, stride: 1 };
    let term = recipe.make(&pair, &[level], 0.5).unwrap();
    let tensors = term.tensors().unwrap();
    let tensors: Tensors = tensors.iter().map(|(name, tensor)| (name.clone(), change(name, tensor))).collect();
    let values: Values = crate::exec::infer(student, images, &[1]).unwrap();
    // The second place of the first image is a box.
    let bounds = Centred { cx: 0.75, cy: 0.5, w: 0.5, h: 1.0 };
    let targets = [Target { image: 0, truth: Truth { class: 0, bounds } }];
    let input = TermInput::new(images, &targets, student, &values, &tensors, 0.0);
    term.compute(&input, &mut LossGradients::none(1)).unwrap()[0]
}

pub(super) fn as_made(_: &str, tensor: &Tensor) -> Tensor {
    tensor.clone()
}

pub(super) fn near(found: f64, expected: f64) {
    assert!(expected.abs() > 1e-3 && (found - expected).abs() < 1e-4 * expected.abs(), "{found} against {expected}");
}

fn every<'a>() -> impl Iterator<Item = [usize; 3]> + 'a {
    (0..3).flat_map(|image| (0..2).flat_map(move |channel| (0..2).map(move |place| [image, channel, place])))
}

#[test]
fn hint() {
    let (t, s) = (features(TEACHER), features(STUDENT));
    let sum: f64 = every().map(|[n, c, p]| (t(n, c, p) - s(n, c, p)).powi(2)).sum();
    near(value(&Hint::default(), as_made), 0.5 * sum / 12.0 / 2.0);
}

#[test]
fn at() {
    let map = |weight: [f64; 2], n: usize| {
        let f = features(weight);
        let map = [0, 1].map(|p| (f(n, 0, p).powi(2) + f(n, 1, p).powi(2)) / 2.0);
        let length = (map[0] * map[0] + map[1] * map[1]).sqrt();
        map.map(|number| number / length)
    };
    // All channels of one image are alike here, so both look at the same places: nothing to tell them apart.
    let apart = |n| (0..2).map(|p| (map(TEACHER, n)[p] - map(STUDENT, n)[p]).powi(2)).sum::<f64>();
    assert!((0..3).map(apart).sum::<f64>() < 1e-12);
    assert!(value(&Attention::default(), as_made).abs() < 1e-10);
}

#[test]
fn pkd() {
    // A channel and its multiple are the same once normalised, but for the sign: the second channels differ by 2·ẑ.
    let pixels: Vec<f64> = IMAGES.iter().flatten().copied().collect();
    let mean = pixels.iter().sum::<f64>() / 6.0;
    let variance = pixels.iter().map(|pixel| (pixel - mean).powi(2)).sum::<f64>() / 6.0;
    let unit = |weight: f64, pixel: f64| weight * (pixel - mean) / (weight * weight * variance + 1e-6).sqrt();
    let apart = |c: usize, pixel: f64| (unit(TEACHER[c], pixel) - unit(STUDENT[c], pixel)).powi(2);
    let sum: f64 = pixels.iter().map(|&pixel| apart(0, pixel) + apart(1, pixel)).sum();
    near(value(&Pkd::default(), as_made), 0.5 * sum / 12.0 / 2.0);
}

#[test]
fn sp() {
    let rows = |weight: [f64; 2]| {
        let f = features(weight);
        let product = |a: usize, b: usize| {
            (0..2).flat_map(|c| [(c, 0), (c, 1)]).map(|(c, p)| f(a, c, p) * f(b, c, p)).sum::<f64>()
        };
        (0..3)
            .map(|a| {
                let row: Vec<f64> = (0..3).map(|b| product(a, b)).collect();
                let length = row.iter().map(|number| number * number).sum::<f64>().sqrt();
                row.into_iter().map(|number| number / length).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    // Multiples of the same images: their similarities are the same.
    let (t, s) = (rows(TEACHER), rows(STUDENT));
    let apart: f64 = t.iter().flatten().zip(s.iter().flatten()).map(|(t, s)| (t - s).powi(2)).sum();
    assert!(apart < 1e-12 && value(&Similarity::default(), as_made).abs() < 1e-10);
}

#[test]
fn rkd_sees_no_difference_between_multiples() {
    assert!(value(&Relations::default(), as_made).abs() < 1e-6);
}

#[test]
fn cwd() {
    let softmax = |numbers: [f64; 2]| {
        let powers = numbers.map(f64::exp);
        powers.map(|power| power / (powers[0] + powers[1]))
    };
    let pixels: Vec<f64> = IMAGES.iter().flatten().copied().collect();
    let mean = pixels.iter().sum::<f64>() / 6.0;
    let variance = pixels.iter().map(|pixel| (pixel - mean).powi(2)).sum::<f64>() / 6.0;
    for normalize in [false, true] {
        let logit = |weight: f64, pixel: f64| match normalize {
            true => weight * (pixel - mean) / (weight * weight * variance + 1e-6).sqrt() / 2.0,
            false => weight * pixel / 2.0,
        };
        let mut sum = 0.0;
        for (image, c) in IMAGES.iter().flat_map(|image| [(image, 0), (image, 1)]) {
            let (p, q) = (softmax(image.map(|x| logit(TEACHER[c], x))), softmax(image.map(|x| logit(STUDENT[c], x))));
            sum += (0..2).map(|at| p[at] * (p[at] / q[at]).ln()).sum::<f64>();
        }
        let recipe = ChannelWise { temperature: Some(2.0), normalize, ..ChannelWise::default() };
        near(value(&recipe, as_made), 0.5 * 4.0 * sum / 2.0 / 3.0);
    }
}

/// With a generator whose last weights are zero and whose last bias is known, all that counts is the teacher's features.
#[test]
fn mgd() {
    let t = features(TEACHER);
    let change = |name: &str, tensor: &Tensor| match name {
        "distill.mgd.generator.0.1.weight" => tensor.zeros_like().unwrap(),
        "distill.mgd.generator.0.1.bias" => Tensor::new(&[0.5f32, -1.0], &Device::Cpu).unwrap(),
        _ => tensor.clone(),
    };
    let sum: f64 = every().map(|[n, c, p]| (t(n, c, p) - [0.5, -1.0][c]).powi(2)).sum();
    near(value(&Generated::default(), change), 0.5 * sum / 3.0);
    // With nothing masked and generators that pass on what is above zero, that is compared.
    let s = features(STUDENT);
    let pass = |name: &str, tensor: &Tensor| match name.ends_with("weight") {
        true => {
            let mut weight = vec![0.0f32; 2 * 2 * 9];
            (0..2).for_each(|c| weight[(c * 2 + c) * 9 + 4] = 1.0);
            Tensor::from_vec(weight, (2, 2, 3, 3), &Device::Cpu).unwrap()
        }
        false => tensor.clone(),
    };
    let sum: f64 = every().map(|[n, c, p]| (t(n, c, p) - s(n, c, p).max(0.0)).powi(2)).sum();
    near(value(&Generated { masked: 0.0, ..Generated::default() }, pass), 0.5 * sum / 3.0);
}

#[test]
fn fgd() {
    let (t, s) = (features(TEACHER), features(STUDENT));
    let softmax = |numbers: [f64; 2]| {
        let powers = numbers.map(|number| (number / 0.5).exp());
        powers.map(|power| 2.0 * power / (powers[0] + powers[1]))
    };
    let places = |f: &dyn Fn(usize, usize, usize) -> f64, n| {
        softmax([0, 1].map(|p| (f(n, 0, p).abs() + f(n, 1, p).abs()) / 2.0))
    };
    let channels = |f: &dyn Fn(usize, usize, usize) -> f64, n| {
        softmax([0, 1].map(|c| (f(n, c, 0).abs() + f(n, c, 1).abs()) / 2.0))
    };
    let parts = |n: usize| {
        let [by_place, by_channel] = [places(&t, n), channels(&t, n)];
        // A box of one place, the other is all the background; without a box, two places of it.
        let counts = if n == 0 { [2.0, 1.0] } else { [2.0 / 2.0, 2.0 / 2.0] };
        let focal: f64 = (0..2)
            .flat_map(|c| [(c, 0), (c, 1)])
            .map(|(c, p)| (t(n, c, p) - s(n, c, p)).powi(2) * by_place[p] * by_channel[c] * counts[p])
            .sum();
        let (own_place, own_channel) = (places(&s, n), channels(&s, n));
        let attention: f64 =
            (0..2).map(|at| (own_place[at] - by_place[at]).abs() + (own_channel[at] - by_channel[at]).abs()).sum();
        // Context blocks that change nothing yet.
        let relations: f64 =
            (0..2).flat_map(|c| [(c, 0), (c, 1)]).map(|(c, p)| (t(n, c, p) - s(n, c, p)).powi(2)).sum();
        focal + 0.25 * attention + 0.1 * relations
    };
    let expected = 0.5 * (0..3).map(parts).sum::<f64>() / 3.0;
    let recipe = Focal { foreground: 1.0, background: 2.0, attention: 0.25, relations: 0.1, ..Focal::default() };
    near(value(&recipe, as_made), expected);
}
