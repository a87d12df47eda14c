//! Training, forwards: what the backward pass needs is kept.

use std::{collections::BTreeMap, iter, time::Instant};

use candle_core::{Device, Result, Tensor};
use espalier_kernels::{
    conv::{self, Epilogue},
    dtype::ComputeDtype,
    norm,
};

use super::{
    describe::{conv_shape, step_function},
    inference,
    value::Value,
};
use crate::{
    exec::{
        error::ExecError,
        fuse::{self, Step},
        numbers::with_numbers,
        observer::{self, Observer},
        options::{NormStatistics, TrainOptions},
        shapes::Shapes,
        times::StepTimes,
        values::{self, RunValue, Values},
    },
    graph::{BatchNorm, Conv, Graph, Node, NodeId, Op},
    model::{Model, Tensors},
};

/// What a run leaves for the backward pass.
pub(in crate::exec) struct Recorded {
    pub(super) model: Model,
    pub(super) dtype: ComputeDtype,
    pub(super) steps: Vec<Step>,
    pub(super) shapes: Shapes,
    /// The values that some operation's gradient is computed from.
    pub(super) values: Vec<Option<Value>>,
    /// Whose statistics the normalisations used.
    pub(super) source: NormStatistics,
    /// For each normalisation, what it used.
    pub(super) statistics: BTreeMap<NodeId, Statistics>,
    /// The nodes for whose values the gradient is asked for.
    pub(super) gradient_taps: Vec<NodeId>,
    pub(super) times: StepTimes,
}

/// Mean and biased variance, a number a channel.
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// Runs on images (n, channels, h, w).
pub(in crate::exec) fn train(
    model: &Model,
    shapes: Shapes,
    images: &Tensor,
    options: &TrainOptions<'_>,
    dtype: ComputeDtype,
    observer: &mut dyn Observer,
) -> std::result::Result<(Values, Tensors, Recorded), ExecError> {
    let graph = model.graph();
    let TrainOptions { statistics, taps, gradient_taps } = *options;
    let outside = taps.iter().chain(gradient_taps).copied();
    let steps = fuse::for_training(graph, outside.chain(observer::wanted(graph, observer)));
    let mut readers = readers(graph, &steps);
    let mut recorded = Recorded {
        model: model.clone(),
        dtype,
        steps: Vec::new(),
        values: iter::repeat_with(|| None).take(graph.nodes().len()).collect(),
        shapes,
        source: statistics,
        statistics: BTreeMap::new(),
        gradient_taps: gradient_taps.to_vec(),
        times: StepTimes::default(),
    };
    let mut running = Tensors::new();
    let mut outside: BTreeMap<NodeId, Tensor> = BTreeMap::new();
    for &step in &steps {
        let (first, id) = (step.first(), step.output());
        let start = Instant::now();
        let kept = graph.outputs().contains(&id) || taps.contains(&id);
        let value = recorded.run(step, kept || observer.wants(id), images, &mut running);
        recorded.times.forward.push((first, start.elapsed().as_secs_f64()));
        let value = recorded.shapes.in_layer(graph, first, value)?;
        if let Some(tensor) = value.tensor() {
            observer::show_value(graph, observer, id, tensor)?;
            if kept {
                outside.insert(id, tensor.clone());
            }
        }
        if readers[id] > 0 {
            recorded.values[id] = Some(value);
        }
        for &input in &graph.node(first).inputs {
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
    Ok((values, running, recorded))
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
    pub(in crate::exec) fn graph(&self) -> &Graph {
        self.model.graph()
    }

    fn run(&mut self, step: Step, shared: bool, images: &Tensor, running: &mut Tensors) -> Result<Value> {
        let graph = self.model.graph();
        let node = graph.node(step.first());
        let (out, batch) = (self.shapes.of[step.output()], self.shapes.batch);
        if let Op::Input { .. } = node.op {
            return Value::of(out, images);
        }
        let inputs = values::inputs(graph, &self.values, step.first())?;
        match &node.op {
            Op::Conv(conv) => Value::compute(out, batch, shared, |result| self.convolve(conv, node, inputs[0], result)),
            Op::BatchNorm(norm) => {
                let mut used = None;
                let value = Value::compute(out, batch, shared, |result| {
                    used = Some(self.normalise(norm, node, step, inputs[0], result)?);
                    Ok(())
                })?;
                let used = used.expect("made with the value");
                if self.source == NormStatistics::Batch {
                    update_averages(norm, node, &used, batch * inputs[0].area(), self.model.tensors(), running)?;
                }
                self.statistics.insert(step.first(), used);
                Ok(value)
            }
            plain => inference::plain(plain, (out, batch), &inputs, shared),
        }
    }

    /// The numbers of a tensor that a node owns.
    pub(super) fn owned<R>(&self, node: &Node, suffix: &str, use_numbers: impl FnOnce(&[f32]) -> R) -> Result<R> {
        with_numbers(&self.model.tensors()[&node.tensor_name(suffix)], use_numbers)
    }

    fn convolve(&self, conv: &Conv, node: &Node, input: &Value, result: &mut [f32]) -> Result<()> {
        let shape = conv_shape(conv, self.dtype, self.shapes.batch, input.shape);
        let run = |epilogue: Epilogue, result: &mut [f32]| {
            self.owned(node, "weight", |weight| {
                input.with_channels(|input| conv::forward(&shape, input, weight, epilogue, result))
            })?
        };
        if conv.bias {
            self.owned(node, "bias", |bias| run(Epilogue::Bias(bias), result))?
        } else {
            run(Epilogue::None, result)
        }
    }

    fn normalise(&self, norm: &BatchNorm, node: &Node, step: Step, x: &Value, y: &mut [f32]) -> Result<Statistics> {
        match self.source {
            NormStatistics::Batch => {
                let [mut mean, mut variance] = [vec![0.0; norm.channels], vec![0.0; norm.channels]];
                self.with_norm(norm, node, step, x, |kernel| {
                    x.with_numbers(|x| norm::forward_train(kernel, x, y, &mut mean, &mut variance))
                })??;
                Ok(Statistics { mean, variance })
            }
            NormStatistics::Running => {
                let owned = |suffix| self.owned(node, suffix, <[f32]>::to_vec);
                let (mean, variance) = (owned("running_mean")?, owned("running_var")?);
                self.with_norm(norm, node, step, x, |kernel| {
                    x.with_numbers(|x| norm::forward_eval(kernel, x, &mean, &variance, y))
                })??;
                Ok(Statistics { mean, variance })
            }
        }
    }

    /// The kernel's description of a normalisation of `x`.
    pub(super) fn with_norm<R>(
        &self,
        norm: &BatchNorm,
        node: &Node,
        step: Step,
        x: &Value,
        run: impl FnOnce(&norm::BatchNorm) -> R,
    ) -> Result<R> {
        self.owned(node, "weight", |gamma| {
            self.owned(node, "bias", |beta| {
                run(&norm::BatchNorm {
                    batch: self.shapes.batch,
                    channels: norm.channels,
                    area: x.area(),
                    gamma,
                    beta,
                    eps: norm.eps as f32,
                    activation: step_function(step, self.model.graph()),
                })
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
