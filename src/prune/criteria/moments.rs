//! Mean and variance of every channel of every value, from the parameters alone.
//!
//! A normalisation knows what it was trained on: behind it a channel has mean β and standard deviation |γ|. Taken as a
//! normal distribution, that goes through the activation by quadrature and, channels taken as independent, through
//! everything else.

use super::super::error::PruneError;
use crate::{
    graph::{Activation, Conv, NodeId, Op, Role},
    model::Model,
};

/// Mean and variance of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

/// The moments of every channel of every node's output.
pub(super) fn moments(model: &Model) -> Result<Vec<Vec<Moments>>, PruneError> {
    let graph = model.graph();
    let consumers = graph.consumers();
    let mut values: Vec<Vec<Moments>> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        let input = |place: usize| &values[node.inputs[place]];
        let value = match &node.op {
            // Pixels evenly spread over [0, 1].
            Op::Input { channels } => vec![Moments { mean: 0.5, variance: 1.0 / 12.0 }; *channels],
            Op::Conv(conv) => {
                let norm = consumers[id].iter().find(|&&reader| graph.node(reader).op.owns(Role::NormScale));
                match norm {
                    Some(&norm) => zip(&owned(model, norm, "running_mean")?, &owned(model, norm, "running_var")?),
                    None => convolve(model, id, conv, input(0))?,
                }
            }
            Op::BatchNorm(norm) => {
                let (scale, shift) = (owned(model, id, "weight")?, owned(model, id, "bias")?);
                let (mean, variance) = (owned(model, id, "running_mean")?, owned(model, id, "running_var")?);
                let normalise = |(channel, x): (usize, &Moments)| {
                    let factor = scale[channel] / (variance[channel] + norm.eps).sqrt();
                    Moments {
                        mean: (x.mean - mean[channel]) * factor + shift[channel],
                        variance: x.variance * factor * factor,
                    }
                };
                input(0).iter().enumerate().map(normalise).collect()
            }
            Op::Activation(activation) => input(0).iter().map(|&x| activate(*activation, x)).collect(),
            Op::MaxPool(_) | Op::Upsample { .. } => input(0).clone(),
            Op::Add => {
                let sum = |channel| {
                    let add = |sum: Moments, x: Moments| Moments {
                        mean: sum.mean + x.mean,
                        variance: sum.variance + x.variance,
                    };
                    node.inputs.iter().map(|&id| values[id][channel]).fold(Moments::default(), add)
                };
                (0..input(0).len()).map(sum).collect()
            }
            Op::Concat => node.inputs.iter().flat_map(|&id| values[id].iter().copied()).collect(),
            Op::Slice { start, len } => input(0)[*start..start + len].to_vec(),
        };
        values.push(value);
    }
    Ok(values)
}

fn owned(model: &Model, node: NodeId, suffix: &str) -> Result<Vec<f64>, PruneError> {
    let tensor = &model.tensors()[&model.graph().node(node).tensor_name(suffix)];
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

fn zip(mean: &[f64], variance: &[f64]) -> Vec<Moments> {
    mean.iter().zip(variance).map(|(&mean, &variance)| Moments { mean, variance }).collect()
}

fn convolve(model: &Model, id: NodeId, conv: &Conv, input: &[Moments]) -> Result<Vec<Moments>, PruneError> {
    let weight = owned(model, id, "weight")?;
    let bias = if conv.bias { owned(model, id, "bias")? } else { vec![0.0; conv.out_channels] };
    let [_, columns, height, width] = conv.weight_shape();
    let taps = height * width;
    let gives = conv.out_channels / conv.groups;
    let filter = |(row, &mean): (usize, &f64)| {
        let first = row / gives * columns;
        let mut sum = Moments { mean, variance: 0.0 };
        for (column, x) in input[first..first + columns].iter().enumerate() {
            let kernel = &weight[(row * columns + column) * taps..][..taps];
            sum.mean += kernel.iter().sum::<f64>() * x.mean;
            sum.variance += kernel.iter().map(|w| w * w).sum::<f64>() * x.variance;
        }
        sum
    };
    Ok(bias.iter().enumerate().map(filter).collect())
}

/// Moments of f(X) for a normal X, by a sum over ±4 standard deviations.
fn activate(activation: Activation, x: Moments) -> Moments {
    let function = |x: f64| match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } => x.max(0.0) + slope * x.min(0.0),
        Activation::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
    };
    let deviation = x.variance.sqrt();
    let (mut weights, mut first, mut second) = (0.0, 0.0, 0.0);
    for place in -16..=16 {
        let z = f64::from(place) / 4.0;
        let (weight, value) = ((-z * z / 2.0).exp(), function(x.mean + deviation * z));
        weights += weight;
        first += weight * value;
        second += weight * value * value;
    }
    let mean = first / weights;
    Moments { mean, variance: (second / weights - mean * mean).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_of_a_normal_distribution() {
        let x = Moments { mean: 0.0, variance: 4.0 };
        let relu = activate(Activation::Relu, x);
        // The half-normal distribution: mean σ/√(2π), second moment σ²/2.
        let mean = 2.0 / (2.0 * std::f64::consts::PI).sqrt();
        assert!((relu.mean - mean).abs() < 1e-2 && (relu.variance - (2.0 - mean * mean)).abs() < 1e-2, "{relu:?}");
        let linear = activate(Activation::LeakyRelu { slope: 1.0 }, Moments { mean: 1.5, variance: 0.25 });
        assert!((linear.mean - 1.5).abs() < 1e-6 && (linear.variance - 0.25).abs() < 1e-3, "{linear:?}");
    }
}
