//! The reference path: every operation in candle's own, differentiable operations, on any device.
//!
//! Where candle's operation or its gradient is known to be wrong or missing, the operation is composed of others:
//! strided convolution (its backward fails on odd remainders), max-pooling, upsampling.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{
    error::ExecError,
    inference::InferenceOptions,
    observer::{self, Observer},
    reach,
    shapes::Shapes,
    tape::{self, NormStatistics, Tape, TrainOptions},
    values::{Gradients, ValueGradients, Values},
};
use crate::{
    graph::{Activation, BatchNorm, Conv, Graph, MaxPool, Node, NodeId, Op},
    model::{Model, Tensors},
};

/// A run recorded by candle's autograd.
pub(super) struct Recorded {
    model: Model,
    /// The trained tensors, by name.
    variables: BTreeMap<String, Var>,
    /// Zeros added to the values for which the gradient may be asked for: their gradient is that of the value.
    at_nodes: BTreeMap<NodeId, Var>,
    gradient_taps: Vec<NodeId>,
    /// The values, connected to the variables.
    values: Values,
}

impl Recorded {
    pub(super) fn graph(&self) -> &Graph {
        self.model.graph()
    }

    /// One backward pass of Σ value · gradient, which is the vector-Jacobian product asked for.
    pub(super) fn backward(
        self,
        given: &ValueGradients,
        observer: &mut dyn Observer,
    ) -> std::result::Result<Gradients, ExecError> {
        let graph = self.model.graph();
        if let Some(id) = observer::wanted(graph, observer).find(|id| !self.at_nodes.contains_key(id)) {
            return Err(ExecError::NotObserved { layer: graph.node(id).name.clone() });
        }
        let outputs = self.values.outputs.iter().zip(&given.outputs);
        let outputs = outputs.filter_map(|(value, gradient)| Some((value, gradient.as_ref()?)));
        let taps = given.taps.iter().map(|(id, gradient)| (&self.values.taps[id], gradient));
        let mut total: Option<Tensor> = None;
        for (value, gradient) in outputs.chain(taps) {
            let product = value.mul(&gradient.detach())?.sum_all()?;
            total = Some(match total {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
        let mut found = Gradients::default();
        let Some(total) = total else { return Ok(found) };
        let store = total.backward()?;
        let gradient = |(name, variable): (&String, &Var)| Some((name.clone(), store.get(variable)?.detach()));
        found.tensors = self.variables.iter().filter_map(gradient).collect();
        for (&id, variable) in self.at_nodes.iter().rev() {
            if let Some(gradient) = store.get(variable) {
                observer::show_gradient(graph, observer, id, gradient)?;
                if self.gradient_taps.contains(&id) {
                    found.taps.insert(id, gradient.detach());
                }
            }
        }
        Ok(found)
    }
}

/// Runs with running averages and without gradients.
pub(super) fn infer(
    model: &Model,
    options: &InferenceOptions,
    shapes: &Shapes,
    images: &Tensor,
    starts: &BTreeMap<NodeId, Tensor>,
    observer: &mut dyn Observer,
) -> std::result::Result<Values, ExecError> {
    let (graph, tensors) = (model.graph(), model.tensors());
    let run = Run {
        graph,
        shapes,
        needed: &reach::needed(graph, &options.starts, &options.taps),
        starts: &options.starts,
        taps: &options.taps,
    };
    run.values(observer, |id, inputs| match &graph.node(id).op {
        _ if options.starts.contains(&id) => Ok(starts[&id].clone()),
        Op::BatchNorm(norm) => normalise_with_averages(norm, graph.node(id), tensors, &inputs[0]),
        other => apply(other, graph.node(id), tensors, images, inputs),
    })
}

/// Runs recorded.
pub(super) fn train(
    model: &Model,
    shapes: Shapes,
    images: &Tensor,
    options: &TrainOptions<'_>,
    observer: &mut dyn Observer,
) -> std::result::Result<Tape, ExecError> {
    let (graph, tensors) = (model.graph(), model.tensors());
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
    let mut at_nodes = BTreeMap::new();
    for id in options.gradient_taps.iter().copied().chain(observer::wanted(graph, observer)) {
        at_nodes.insert(id, Var::zeros(shapes.dims(id), DType::F32, images.device())?);
    }
    let mut running = Tensors::new();
    let needed = vec![true; graph.nodes().len()];
    let run = Run { graph, shapes: &shapes, needed: &needed, starts: &[], taps: options.taps };
    let values = run.values(observer, |id, inputs| {
        let node = graph.node(id);
        let value = match (&node.op, options.statistics) {
            (Op::BatchNorm(norm), NormStatistics::Batch) => {
                normalise_with_batch(norm, node, &connected, &inputs[0], &mut running)?
            }
            (Op::BatchNorm(norm), NormStatistics::Running) => {
                normalise_with_averages(norm, node, &connected, &inputs[0])?
            }
            (other, _) => apply(other, node, &connected, images, inputs)?,
        };
        match at_nodes.get(&id) {
            Some(zeros) => value + zeros.as_tensor(),
            None => Ok(value),
        }
    })?;
    let detached = Values {
        outputs: values.outputs.iter().map(Tensor::detach).collect(),
        taps: values.taps.iter().map(|(&id, value)| (id, value.detach())).collect(),
    };
    let gradient_taps = options.gradient_taps.to_vec();
    let recorded = Recorded { model: model.clone(), variables, at_nodes, gradient_taps, values };
    Ok(Tape { values: detached, running, recorded: tape::Recorded::Reference(Box::new(recorded)) })
}

/// What a run computes.
struct Run<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    needed: &'a [bool],
    /// Nodes whose values are given.
    starts: &'a [NodeId],
    taps: &'a [NodeId],
}

impl Run<'_> {
    /// Lets `compute` make the value of each node from its inputs; a value is dropped after its last use.
    fn values(
        &self,
        observer: &mut dyn Observer,
        mut compute: impl FnMut(NodeId, &[Tensor]) -> Result<Tensor>,
    ) -> std::result::Result<Values, ExecError> {
        let graph = self.graph;
        let mut readers = vec![0; graph.nodes().len()];
        let computed: Vec<NodeId> = (0..graph.nodes().len()).filter(|&id| self.needed[id]).collect();
        let read = computed.iter().flat_map(|&id| self.reads(id)).chain(graph.outputs()).chain(self.taps);
        read.for_each(|&id| readers[id] += 1);
        let mut values: BTreeMap<NodeId, Tensor> = BTreeMap::new();
        for id in computed {
            let inputs: Vec<Tensor> = self.reads(id).iter().map(|input| values[input].clone()).collect();
            let value = self.shapes.in_layer(graph, id, compute(id, &inputs))?;
            observer::show_value(graph, observer, id, &value.detach())?;
            if readers[id] > 0 {
                values.insert(id, value);
            }
            for &input in self.reads(id) {
                readers[input] -= 1;
                if readers[input] == 0 {
                    values.remove(&input);
                }
            }
        }
        Ok(Values {
            outputs: graph.outputs().iter().map(|id| values[id].clone()).collect(),
            taps: self.taps.iter().map(|&id| (id, values[&id].clone())).collect(),
        })
    }

    fn reads(&self, id: NodeId) -> &[NodeId] {
        if self.starts.contains(&id) { &[] } else { &self.graph.node(id).inputs }
    }
}

/// Every operation but normalisation, which depends on the mode.
fn apply(op: &Op, node: &Node, tensors: &Tensors, images: &Tensor, inputs: &[Tensor]) -> Result<Tensor> {
    let owned = |suffix: &str| &tensors[&node.tensor_name(suffix)];
    match op {
        Op::Input { .. } => Ok(images.clone()),
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

/// Maximum along rows, then along columns, of views shifted by a tap each. The gradient goes to the first maximum of a
/// window in row-major order, as in PyTorch: candle's own maximum shares it among equals.
fn max_pool(pool: &MaxPool, input: &Tensor) -> Result<Tensor> {
    let mut value = input.clone();
    for dim in [3, 2] {
        let padded = pad_with_negative_infinity(&value, dim, pool.padding)?;
        let windows = (padded.dim(dim)? - pool.kernel) / pool.stride + 1;
        let tap = |offset: usize| {
            let places: Vec<u32> = (0..windows).map(|window| (window * pool.stride + offset) as u32).collect();
            padded.index_select(&Tensor::new(places, input.device())?, dim)
        };
        value = (1..pool.kernel).try_fold(tap(0)?, |best, offset| maximum_of(&best, &tap(offset)?))?;
    }
    Ok(value)
}

/// The larger of two numbers, the first where they are equal; a NaN is larger than any.
fn maximum_of(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let larger = (second.gt(first)? + second.ne(second)?)?;
    larger.where_cond(second, first)
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
