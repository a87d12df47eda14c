//! Inference: normalisations folded into convolutions once, then steps on buffers that are freed after their last use.

use std::{collections::BTreeMap, time::Instant};

use candle_core::{Result, Tensor};
use espalier_kernels::{
    conv::{self, Epilogue, PackedWeight},
    elementwise, norm, pool,
};

use super::{
    super::{ComputeDtype, ConvolutionWays, ExecError, StepTimes, Values},
    Value, conv_shape, function,
    fuse::{self, Step},
    in_layer, is_shared, pool_shape, range, shapes, with_numbers,
};
use crate::{
    graph::{BatchNorm, Conv, Graph, NodeId, Op, Shape},
    model::{Model, Tensors},
};

/// A model made ready to run many times.
pub(in crate::exec) struct Prepared {
    dtype: ComputeDtype,
    steps: Vec<(Step, Work)>,
    taps: Vec<NodeId>,
    /// For each node, how many steps read its value (outputs and taps count as a reader that never comes).
    readers: Vec<usize>,
}

/// What a step does, with its weights folded.
enum Work {
    /// The images themselves.
    Images,
    Conv {
        conv: Conv,
        weight: PackedWeight,
        bias: Option<Vec<f32>>,
        silu: bool,
    },
    /// A normalisation that follows no convolution of its own.
    Norm {
        norm: BatchNorm,
        owned: Averages,
        activation: elementwise::Activation,
    },
    /// An operation without weights.
    Plain,
}

/// What a normalisation owns, a number a channel.
struct Averages {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
}

impl Averages {
    fn of(graph: &Graph, tensors: &Tensors, id: NodeId) -> Result<Self> {
        let owned = |suffix| numbers(graph, tensors, id, suffix);
        Ok(Self {
            gamma: owned("weight")?,
            beta: owned("bias")?,
            mean: owned("running_mean")?,
            var: owned("running_var")?,
        })
    }

    /// Scale and shift of each channel, all together.
    fn affine(&self, norm: &BatchNorm) -> Vec<(f32, f32)> {
        let channel = |c: usize| {
            let scale = f64::from(self.gamma[c]) / (f64::from(self.var[c]) + norm.eps).sqrt();
            (scale as f32, (f64::from(self.beta[c]) - f64::from(self.mean[c]) * scale) as f32)
        };
        (0..norm.channels).map(channel).collect()
    }
}

fn numbers(graph: &Graph, tensors: &Tensors, id: NodeId, suffix: &str) -> Result<Vec<f32>> {
    with_numbers(&tensors[&graph.node(id).tensor_name(suffix)], <[f32]>::to_vec)
}

impl Prepared {
    /// Folds and plans.
    pub(in crate::exec) fn new(model: &Model, taps: &[NodeId], dtype: ComputeDtype) -> Result<Self> {
        let graph = model.graph();
        let steps = fuse::for_inference(graph, taps);
        let mut readers = vec![0; graph.nodes().len()];
        for step in &steps {
            graph.node(step.first()).inputs.iter().for_each(|&input| readers[input] += 1);
        }
        graph.outputs().iter().chain(taps).for_each(|&id| readers[id] += 1);
        let work = |step: Step| Ok((step, work(graph, model.tensors(), step, dtype)?));
        let steps = steps.into_iter().map(work).collect::<Result<_>>()?;
        Ok(Self { dtype, steps, taps: taps.to_vec(), readers })
    }

    /// Runs on images (n, channels, h, w).
    pub(in crate::exec) fn run(
        &self,
        graph: &Graph,
        images: &Tensor,
    ) -> std::result::Result<(Values, StepTimes), ExecError> {
        let (batch, shapes) = shapes(graph, images)?;
        let mut values: Vec<Option<Value>> = shapes.iter().map(|_| None).collect();
        let mut readers = self.readers.clone();
        let mut times = StepTimes::default();
        for (step, work) in &self.steps {
            let node = graph.node(step.first());
            let out = shapes[step.output()];
            let inputs: Vec<&Value> = node.inputs.iter().filter_map(|&id| values[id].as_ref()).collect();
            let start = Instant::now();
            let value = match work {
                Work::Images => Value::of(out, images),
                _ => Value::compute(out, batch, is_shared(graph, &self.taps, step.output()), |result| {
                    self.step(&node.op, work, batch, &inputs, result)
                }),
            };
            times.forward.push((step.first(), start.elapsed().as_secs_f64()));
            let value = in_layer(node, inputs.first().map(|value| value.shape), value)?;
            values[step.output()] = Some(value);
            for &input in &node.inputs {
                readers[input] -= 1;
                if readers[input] == 0 {
                    values[input] = None;
                }
            }
        }
        let tensor = |id: NodeId| match values[id].as_ref().and_then(Value::tensor) {
            Some(tensor) => Ok(tensor.clone()),
            None => candle_core::bail!("the value of `{}` was not kept", graph.node(id).name),
        };
        let values = Values {
            outputs: graph.outputs().iter().map(|&id| tensor(id)).collect::<Result<_>>()?,
            taps: self.taps.iter().map(|&id| Ok((id, tensor(id)?))).collect::<Result<BTreeMap<_, _>>>()?,
        };
        Ok((values, times))
    }

    fn step(&self, op: &Op, work: &Work, batch: usize, inputs: &[&Value], result: &mut [f32]) -> Result<()> {
        match work {
            Work::Images | Work::Plain => plain(op, batch, inputs, result)?,
            Work::Conv { conv, weight, bias, silu } => {
                let epilogue = match bias {
                    Some(bias) if *silu => Epilogue::BiasSilu(bias),
                    Some(bias) => Epilogue::Bias(bias),
                    None => Epilogue::None,
                };
                let shape = conv_shape(conv, self.dtype, batch, inputs[0].shape);
                conv::forward_packed(&shape, &inputs[0].numbers()?, weight, epilogue, result);
            }
            Work::Norm { norm, owned, activation } => {
                let kernel = norm::BatchNorm {
                    batch,
                    channels: norm.channels,
                    area: inputs[0].area(),
                    gamma: &owned.gamma,
                    beta: &owned.beta,
                    eps: norm.eps as f32,
                    activation: *activation,
                };
                norm::forward_eval(&kernel, &inputs[0].numbers()?, &owned.mean, &owned.var, result);
            }
        }
        Ok(())
    }

    /// How the convolutions run.
    pub(in crate::exec) fn ways(&self) -> ConvolutionWays {
        let fused =
            |(step, _): &&(Step, Work)| matches!(step, Step::ConvBlock { norm: Some(_), activation: Some(_), .. });
        let winograd = |(_, work): &&(Step, Work)| matches!(work, Work::Conv { weight, .. } if weight.is_winograd());
        ConvolutionWays {
            fused: self.steps.iter().filter(fused).count(),
            winograd: self.steps.iter().filter(winograd).count(),
        }
    }
}

fn work(graph: &Graph, tensors: &Tensors, step: Step, dtype: ComputeDtype) -> Result<Work> {
    match (step, &graph.node(step.first()).op) {
        (Step::ConvBlock { conv: id, norm, activation }, Op::Conv(conv)) => {
            let mut weight = numbers(graph, tensors, id, "weight")?;
            let mut bias = conv.bias.then(|| numbers(graph, tensors, id, "bias")).transpose()?;
            if let Some((norm_id, Op::BatchNorm(norm))) = norm.map(|id| (id, &graph.node(id).op)) {
                let affine = Averages::of(graph, tensors, norm_id)?.affine(norm);
                let filter = weight.len() / conv.out_channels;
                for (numbers, (scale, _)) in weight.chunks_exact_mut(filter).zip(&affine) {
                    numbers.iter_mut().for_each(|number| *number *= scale);
                }
                let old = bias.unwrap_or_else(|| vec![0.0; conv.out_channels]);
                bias = Some(old.iter().zip(&affine).map(|(bias, (scale, shift))| bias * scale + shift).collect());
            }
            let bias = bias.or_else(|| activation.map(|_| vec![0.0; conv.out_channels]));
            let image = Shape { channels: conv.in_channels, height: 1, width: 1 };
            let weight = PackedWeight::new(&conv_shape(conv, dtype, 1, image), &weight);
            Ok(Work::Conv { conv: *conv, weight, bias, silu: activation.is_some() })
        }
        (step, Op::BatchNorm(norm)) => {
            let owned = Averages::of(graph, tensors, step.first())?;
            Ok(Work::Norm { norm: *norm, owned, activation: step.activation(graph) })
        }
        (_, Op::Input { .. }) => Ok(Work::Images),
        (_, Op::Conv(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. }) => Ok(Work::Plain),
        (_, Op::Add | Op::Concat | Op::Slice { .. }) => Ok(Work::Plain),
    }
}

/// The operations without weights; training runs them the same way.
pub(super) fn plain(op: &Op, batch: usize, inputs: &[&Value], result: &mut [f32]) -> Result<()> {
    match op {
        Op::Activation(activation) => elementwise::activate(function(*activation), &inputs[0].numbers()?, result),
        Op::MaxPool(pool) => {
            pool::max_forward(&pool_shape(pool, batch, inputs[0].shape), &inputs[0].numbers()?, result)
        }
        Op::Upsample { scale } => {
            let Shape { channels, height, width } = inputs[0].shape;
            elementwise::upsample(batch * channels, [height, width], [*scale; 2], &inputs[0].numbers()?, result);
        }
        Op::Add => {
            if let [a, b, rest @ ..] = inputs {
                elementwise::add(&a.numbers()?, &b.numbers()?, result);
                for input in rest {
                    elementwise::add_assign(result, &input.numbers()?);
                }
            } else {
                elementwise::copy(result, &inputs[0].numbers()?);
            }
        }
        Op::Concat => {
            let channels = inputs.iter().map(|input| input.shape.channels).sum();
            let mut start = 0;
            for input in inputs {
                let count = input.shape.channels;
                let to = (&mut *result, range(channels, start));
                elementwise::copy_channels(input.area(), count, (&input.numbers()?, range(count, 0)), to, false);
                start += count;
            }
        }
        Op::Slice { start, len } => {
            let numbers = inputs[0].numbers()?;
            let from = (&numbers[..], range(inputs[0].shape.channels, *start));
            elementwise::copy_channels(inputs[0].area(), *len, from, (result, range(*len, 0)), false);
        }
        Op::Input { .. } | Op::Conv(_) | Op::BatchNorm(_) => {
            candle_core::bail!("a {} is no operation without weights", op.kind())
        }
    }
    Ok(())
}
