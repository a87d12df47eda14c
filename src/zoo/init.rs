//! Initial weights, as PyTorch draws them and YOLO's authors set the biases of the head.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    graph::{Graph, Op, Parameter, Role},
    model::{Detector, ModelError, OutputKind, Tensors},
};

/// Initial values of every tensor of a detector: uniform in ±1/√(fan in) for convolutions (He et al. 2015 with a = √5,
/// PyTorch's default), 1 and 0 for normalisations, and the head's biases so that scores begin near the rate of objects.
pub(super) fn tensors(graph: &Graph, detector: &Detector, seed: u64) -> Result<Tensors, ModelError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = Tensors::new();
    for (id, name, parameter) in graph.parameters() {
        let mut values = initial(&graph.node(id).op, &parameter, &mut rng);
        let output = graph.outputs().iter().position(|&output| output == id);
        if let (Some(output), Role::Bias) = (output, parameter.role) {
            set_head_bias(&mut values, detector, output);
        }
        tensors.insert(name, Tensor::from_vec(values, parameter.shape, &Device::Cpu)?);
    }
    Ok(tensors)
}

fn initial(op: &Op, parameter: &Parameter, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let count = parameter.count();
    match parameter.role {
        Role::NormScale | Role::RunningVar => vec![1.0; count],
        Role::NormShift | Role::RunningMean => vec![0.0; count],
        Role::Weight | Role::Bias => {
            // A bias is drawn by the fan-in of the filter that it belongs to.
            let fan_in = op.parameter(Role::Weight).map_or(1, |weight| weight.per_output());
            let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
            (0..count).map(|_| rng.random_range(-bound..bound)).collect()
        }
    }
}

/// At the start the scores should be rare; see [`Detector::class_bias`] and [`Detector::objectness_bias`].
fn set_head_bias(bias: &mut [f32], detector: &Detector, output: usize) {
    let (classes, output) = (detector.classes.len(), detector.outputs[output]);
    let score = detector.class_bias(output.level, classes);
    match output.kind {
        OutputKind::Anchors => {
            for anchor in bias.chunks_mut(5 + classes) {
                anchor[4] += detector.objectness_bias(output.level);
                anchor[5..].iter_mut().for_each(|value| *value += score);
            }
        }
        OutputKind::Boxes => bias.fill(1.0),
        OutputKind::Classes => bias.fill(score),
    }
}
