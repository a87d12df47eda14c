//! The reference path: every operation in candle's own, differentiable operations, on any device.
//!
//! Where candle's operation or its gradient is known to be wrong or missing, the operation is composed of others:
//! strided convolution (its backward fails on odd remainders), max-pooling, upsampling.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Backward, ExecError, Tape, ValueGradients, Values};
use crate::{
    graph::{Activation, BatchNorm, Conv, Graph, MaxPool, Node, NodeId, Op},
    model::Tensors,
};

/// A run recorded by candle's autograd.
pub(super) struct Recorded {
    /// The trained tensors, by name.
    variables: BTreeMap<String, Var>,
    /// The values, connected to the variables.
    outputs: Vec<(String, Tensor)>,
    taps: BTreeMap<NodeId, (String, Tensor)>,
}

impl Recorded {
    /// One backward pass of Σ value · gradient, which is the vector-Jacobian product asked for.
    pub(super) fn backward(self, gradients: &ValueGradients) -> std::result::Result<Tensors, ExecError> {
        let outputs = self.outputs.iter().zip(&gradients.outputs);
        let outputs = outputs.filter_map(|(value, gradient)| Some((value, gradient.as_ref()?)));
        let taps = gradients.taps.iter().filter_map(|(id, gradient)| Some((self.taps.get(id)?, gradient)));
        let mut total: Option<Tensor> = None;
        for ((layer, value), gradient) in outputs.chain(taps) {
            if value.dims() != gradient.dims() {
                return Err(ExecError::Gradient {
                    layer: layer.clone(),
                    expected: value.dims().to_vec(),
                    found: gradient.dims().to_vec(),
                });
            }
            let product = value.mul(&gradient.detach())?.sum_all()?;
            total = Some(match total {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
        let Some(total) = total else { return Ok(Tensors::new()) };
        let store = total.backward()?;
        let gradient = |(name, variable): (&String, &Var)| Some((name.clone(), store.get(variable)?.detach()));
        Ok(self.variables.iter().filter_map(gradient).collect())
    }
}

/// Runs with running averages and without gradients.
pub(super) fn infer(
    graph: &Graph,
    tensors: &Tensors,
    images: &Tensor,
    taps: &[NodeId],
) -> std::result::Result<Values, ExecError> {
    let values = run(graph, images, |node, inputs| match &node.op {
        Op::BatchNorm(norm) => normalise_with_averages(norm, node, tensors, &inputs[0]),
        other => apply(other, node, tensors, inputs),
    })?;
    Ok(Values {
        outputs: graph.outputs().iter().map(|&id| values[id].clone()).collect(),
        taps: taps.iter().map(|&id| (id, values[id].clone())).collect(),
    })
}

/// Runs with batch statistics, recorded.
pub(super) fn train(
    graph: &Graph,
    tensors: &Tensors,
    images: &Tensor,
    taps: &[NodeId],
) -> std::result::Result<Tape, ExecError> {
    let mut variables = BTreeMap::new();
    let mut connected = Tensors::new();
    for (_, name, parameter) in graph.parameters() {
        let tensor = &tensors[&name];
        if parameter.role.is_trainable() {
            let variable = Var::from_tensor(tensor)?;
            connected.insert(name.clone(), variable.as_tensor().clone());
            variables.insert(name, variable);
        } else {
            connected.insert(name, tensor.clone());
        }
    }
    let mut running = Tensors::new();
    let values = run(graph, images, |node, inputs| match &node.op {
        Op::BatchNorm(norm) => normalise_with_batch(norm, node, &connected, &inputs[0], &mut running),
        other => apply(other, node, &connected, inputs),
    })?;
    let named = |id: NodeId| (graph.node(id).name.clone(), values[id].clone());
    let recorded = Recorded {
        variables,
        outputs: graph.outputs().iter().map(|&id| named(id)).collect(),
        taps: taps.iter().map(|&id| (id, named(id))).collect(),
    };
    let values = Values {
        outputs: recorded.outputs.iter().map(|(_, value)| value.detach()).collect(),
        taps: recorded.taps.iter().map(|(&id, (_, value))| (id, value.detach())).collect(),
    };
    Ok(Tape { values, running, backward: Backward::Reference(recorded) })
}

fn run(
    graph: &Graph,
    images: &Tensor,
    mut compute: impl FnMut(&Node, &[Tensor]) -> Result<Tensor>,
) -> std::result::Result<Vec<Tensor>, ExecError> {
    let mut values: Vec<Tensor> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let inputs: Vec<Tensor> = match node.op {
            Op::Input { .. } => vec![images.clone()],
            _ => node.inputs.iter().map(|&id| values[id].clone()).collect(),
        };
        let value = compute(node, &inputs).map_err(|source| ExecError::Layer {
            layer: node.name.clone(),
            kind: node.op.kind(),
            input: inputs.first().map(|input| input.dims().to_vec()).unwrap_or_default(),
            source: Box::new(source),
        })?;
        values.push(value);
    }
    Ok(values)
}

/// Every operation but normalisation, which depends on the mode.
fn apply(op: &Op, node: &Node, tensors: &Tensors, inputs: &[Tensor]) -> Result<Tensor> {
    let owned = |suffix: &str| &tensors[&node.tensor_name(suffix)];
    match op {
        Op::Input { .. } => Ok(inputs[0].clone()),
        Op::Conv(conv) => {
            let bias = conv.bias.then(|| owned("bias"));
            convolve(conv, &inputs[0], owned("weight"), bias)
        }
        Op::BatchNorm(norm) => normalise_with_averages(norm, node, tensors, &inputs[0]),
        Op::Activation(activation) => activate(*activation, &inputs[0]),
        Op::MaxPool(pool) => max_pool(pool, &inputs[0]),
        Op::Upsample { scale } => upsample(*scale, &inputs[0]),
        Op::Add => inputs[1..].iter().try_fold(inputs[0].clone(), |sum, input| sum + input),
        Op::Concat => Tensor::cat(inputs, 1),
        Op::Slice { start, len } => inputs[0].narrow(1, *start, *len)?.contiguous(),
    }
}

/// Pads by hand and drops what no window reaches, so that candle's convolution and its backward need no remainder.
fn convolve(conv: &Conv, input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ([stride, other_stride], [dilation, other_dilation]) = (conv.stride, conv.dilation);
    if stride != other_stride || dilation != other_dilation {
        candle_core::bail!(
            "stride {:?} or dilation {:?} differs by axis, which this device's path cannot run",
            conv.stride,
            conv.dilation
        );
    }
    let mut padded = input.clone();
    for (axis, dim) in [(0, 2), (1, 3)] {
        let reach = dilation * (conv.kernel[axis] - 1) + 1;
        padded = padded.pad_with_zeros(dim, conv.padding[axis], conv.padding[axis])?;
        let extent = padded.dim(dim)?;
        padded = padded.narrow(dim, 0, extent - (extent - reach) % stride)?;
    }
    let output = padded.contiguous()?.conv2d(weight, 0, stride, dilation, conv.groups)?;
    match bias {
        Some(bias) => output.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(output),
    }
}

fn per_channel(tensor: &Tensor) -> Result<Tensor> {
    tensor.reshape((1, (), 1, 1))
}

fn normalise_with_averages(norm: &BatchNorm, node: &Node, tensors: &Tensors, input: &Tensor) -> Result<Tensor> {
    let owned = |suffix: &str| per_channel(&tensors[&node.tensor_name(suffix)]);
    let scale = (owned("weight")? / (owned("running_var")? + norm.eps)?.sqrt()?)?;
    let shift = (owned("bias")? - (owned("running_mean")? * &scale)?)?;
    input.broadcast_mul(&scale)?.broadcast_add(&shift)
}

fn normalise_with_batch(
    norm: &BatchNorm,
    node: &Node,
    tensors: &Tensors,
    input: &Tensor,
    running: &mut Tensors,
) -> Result<Tensor> {
    let owned = |suffix: &str| &tensors[&node.tensor_name(suffix)];
    let mean = input.mean_keepdim((0, 2, 3))?;
    let centred = input.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    let count = (input.elem_count() / norm.channels) as f64;
    let unbiased = (variance.detach() * (count / (count - 1.0).max(1.0)))?;
    for (suffix, batch) in [("running_mean", mean.detach()), ("running_var", unbiased)] {
        let kept = (owned(suffix) * (1.0 - norm.momentum))?;
        let updated = (kept + (batch.flatten_all()? * norm.momentum)?)?;
        running.insert(node.tensor_name(suffix), updated);
    }
    let normalised = centred.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    normalised.broadcast_mul(&per_channel(owned("weight"))?)?.broadcast_add(&per_channel(owned("bias"))?)
}

fn activate(activation: Activation, input: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => input.silu(),
        Activation::Relu => input.relu(),
        Activation::LeakyRelu { slope } => input.relu()? - (input.neg()?.relu()? * slope)?,
        Activation::Hardswish => {
            let gate = ((input + 3.0)?.relu()? - (input - 3.0)?.relu()?)?;
            (input * gate)? / 6.0
        }
    }
}

/// Maximum along rows, then along columns, of views shifted by a tap each.
fn max_pool(pool: &MaxPool, input: &Tensor) -> Result<Tensor> {
    let mut value = input.clone();
    for dim in [2, 3] {
        let padded = pad_with_negative_infinity(&value, dim, pool.padding)?;
        let windows = (padded.dim(dim)? - pool.kernel) / pool.stride + 1;
        let tap = |offset: usize| {
            let places: Vec<u32> = (0..windows).map(|window| (window * pool.stride + offset) as u32).collect();
            padded.index_select(&Tensor::new(places, input.device())?, dim)
        };
        value = (1..pool.kernel).try_fold(tap(0)?, |best, offset| best.maximum(&tap(offset)?))?;
    }
    Ok(value)
}

fn pad_with_negative_infinity(input: &Tensor, dim: usize, padding: usize) -> Result<Tensor> {
    if padding == 0 {
        return Ok(input.clone());
    }
    let mut shape = input.dims().to_vec();
    shape[dim] = padding;
    let border = filled(f32::NEG_INFINITY, &shape, input.device())?.to_dtype(input.dtype())?;
    Tensor::cat(&[&border, input, &border], dim)?.contiguous()
}

fn filled(value: f32, shape: &[usize], device: &Device) -> Result<Tensor> {
    Tensor::full(value, shape, device)?.to_dtype(DType::F32)
}

fn upsample(scale: usize, input: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = input.dims4()?;
    input
        .reshape((batch, channels, height, 1, width, 1))?
        .broadcast_as((batch, channels, height, scale, width, scale))?
        .contiguous()?
        .reshape((batch, channels, height * scale, width * scale))
}
