//! Training, forwards: batch statistics, and what the way back needs is kept.

use std::{collections::BTreeMap, time::Instant};

use candle_core::{Device, Result, Tensor};
use espalier_kernels::{
    conv::{self, Epilogue},
    norm,
};

use super::{
    super::{Backward, ComputeDtype, ExecError, StepTimes, Tape, Values},
    Value, conv_shape,
    fuse::{self, Step},
    in_layer, inference, is_shared, shapes, with_numbers,
};
use crate::{
    graph::{BatchNorm, Conv, Graph, Node, NodeId, Op, Shape},
    model::{Model, Tensors},
};

/// What a run leaves for the way back.
pub(in crate::exec) struct Recorded {
    pub(super) model: Model,
    pub(super) dtype: ComputeDtype,
    pub(super) steps: Vec<Step>,
    pub(super) batch: usize,
    pub(super) shapes: Vec<Shape>,
    /// The values that some operation's gradient is computed from.
    pub(super) values: Vec<Option<Value>>,
    /// For each normalisation, the batch's mean and biased variance.
    pub(super) statistics: BTreeMap<NodeId, Statistics>,
    pub(super) times: StepTimes,
}

/// Mean and biased variance of a batch, a number a channel.
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// Runs with batch statistics on images (n, channels, h, w).
pub(in crate::exec) fn train(
    model: &Model,
    images: &Tensor,
    taps: &[NodeId],
    dtype: ComputeDtype,
) -> std::result::Result<Tape, ExecError> {
    let graph = model.graph();
    let (batch, shapes) = shapes(graph, images)?;
    let steps = fuse::for_training(graph, taps);
    let mut readers = readers(graph, &steps);
    let mut recorded = Recorded {
        model: model.clone(),
        dtype,
        steps: Vec::new(),
        batch,
        values: shapes.iter().map(|_| None).collect(),
        shapes,
        statistics: BTreeMap::new(),
        times: StepTimes::default(),
    };
    let mut running = Tensors::new();
    let mut outside: BTreeMap<NodeId, Tensor> = BTreeMap::new();
    for &step in &steps {
        let node = graph.node(step.first());
        let id = step.output();
        let start = Instant::now();
        let shared = is_shared(graph, taps, id);
        let value = in_layer(node, None, recorded.run(node, step, shared, images, &mut running))?;
        recorded.times.forward.push((step.first(), start.elapsed().as_secs_f64()));
        if let Some(tensor) = value.tensor().filter(|_| shared) {
            outside.insert(id, tensor.clone());
        }
        if readers[id] > 0 {
            recorded.values[id] = Some(value);
        }
        for &input in &node.inputs {
            readers[input] -= 1;
            if readers[input] == 0 && !is_needed_backwards(graph, &steps, input) {
                recorded.values[input] = None;
            }
        }
    }
    recorded.steps = steps;
    let value = |id: NodeId| outside[&id].clone();
    let values = Values {
        outputs: graph.outputs().iter().map(|&id| value(id)).collect(),
        taps: taps.iter().map(|&id| (id, value(id))).collect(),
    };
    Ok(Tape { values, running, backward: Backward::Fast(Box::new(recorded)) })
}

/// For each node, how many steps read its value.
fn readers(graph: &Graph, steps: &[Step]) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes().len()];
    for step in steps {
        graph.node(step.first()).inputs.iter().for_each(|&input| readers[input] += 1);
    }
    readers
}

/// Whether the gradient of some reader is computed from this value.
fn is_needed_backwards(graph: &Graph, steps: &[Step], id: NodeId) -> bool {
    let reads = |step: &&Step| graph.node(step.first()).inputs.contains(&id);
    steps.iter().filter(reads).any(|step| match graph.node(step.first()).op {
        Op::Conv(_) | Op::BatchNorm(_) | Op::Activation(_) | Op::MaxPool(_) => true,
        Op::Input { .. } | Op::Upsample { .. } | Op::Add | Op::Concat | Op::Slice { .. } => false,
    })
}

impl Recorded {
    fn run(&mut self, node: &Node, step: Step, shared: bool, images: &Tensor, running: &mut Tensors) -> Result<Value> {
        let out = self.shapes[step.output()];
        if let Op::Input { .. } = node.op {
            return Value::of(out, images);
        }
        let inputs: Vec<&Value> = node.inputs.iter().filter_map(|&id| self.values[id].as_ref()).collect();
        let mut statistics = None;
        let value = Value::compute(out, self.batch, shared, |result| match &node.op {
            Op::Conv(conv) => self.convolve(conv, node, inputs[0], result),
            Op::BatchNorm(norm) => {
                let found = self.normalise(norm, node, step, inputs[0], result)?;
                update_averages(norm, node, &found, self.batch * inputs[0].area(), self.model.tensors(), running)?;
                statistics = Some(found);
                Ok(())
            }
            plain => inference::plain(plain, self.batch, &inputs, result),
        })?;
        if let Some(statistics) = statistics {
            self.statistics.insert(step.first(), statistics);
        }
        Ok(value)
    }

    /// The numbers of a tensor that a node owns.
    pub(super) fn owned<R>(&self, node: &Node, suffix: &str, use_numbers: impl FnOnce(&[f32]) -> R) -> Result<R> {
        with_numbers(&self.model.tensors()[&node.tensor_name(suffix)], use_numbers)
    }

    fn convolve(&self, conv: &Conv, node: &Node, input: &Value, result: &mut [f32]) -> Result<()> {
        let shape = conv_shape(conv, self.dtype, self.batch, input.shape);
        let numbers = input.numbers()?;
        let run = |epilogue: Epilogue, result: &mut [f32]| {
            self.owned(node, "weight", |weight| conv::forward(&shape, &numbers, weight, epilogue, result))
        };
        if conv.bias {
            self.owned(node, "bias", |bias| run(Epilogue::Bias(bias), result))?
        } else {
            run(Epilogue::None, result)
        }
    }

    fn normalise(&self, norm: &BatchNorm, node: &Node, step: Step, x: &Value, y: &mut [f32]) -> Result<Statistics> {
        let mut statistics = Statistics { mean: vec![0.0; norm.channels], variance: vec![0.0; norm.channels] };
        let Statistics { mean, variance } = &mut statistics;
        let numbers = x.numbers()?;
        self.with_norm(norm, node, step, x, |kernel| norm::forward_train(kernel, &numbers, y, mean, variance))?;
        Ok(statistics)
    }

    /// The kernel's description of a normalisation of `x`.
    pub(super) fn with_norm(
        &self,
        norm: &BatchNorm,
        node: &Node,
        step: Step,
        x: &Value,
        run: impl FnOnce(&norm::BatchNorm),
    ) -> Result<()> {
        self.owned(node, "weight", |gamma| {
            self.owned(node, "bias", |beta| {
                run(&norm::BatchNorm {
                    batch: self.batch,
                    channels: norm.channels,
                    area: x.area(),
                    gamma,
                    beta,
                    eps: norm.eps as f32,
                    activation: step.activation(self.model.graph()),
                });
            })
        })?
    }
}

/// Puts the new running averages beside the old ones: the batch's mean, and its unbiased variance over `count` numbers.
fn update_averages(
    norm: &BatchNorm,
    node: &Node,
    statistics: &Statistics,
    count: usize,
    tensors: &Tensors,
    running: &mut Tensors,
) -> Result<()> {
    let momentum = norm.momentum as f32;
    let unbias = count as f32 / (count as f32 - 1.0).max(1.0);
    let parts = [("running_mean", &statistics.mean, 1.0), ("running_var", &statistics.variance, unbias)];
    for (suffix, batch, factor) in parts {
        let name = node.tensor_name(suffix);
        let updated: Vec<f32> = with_numbers(&tensors[&name], |old| {
            old.iter().zip(batch).map(|(old, new)| old * (1.0 - momentum) + new * factor * momentum).collect()
        })?;
        running.insert(name, Tensor::from_vec(updated, norm.channels, &Device::Cpu)?);
    }
    Ok(())
}
