//! Inference: normalisations folded into convolutions once, then steps on buffers that are freed after their last use.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use espalier_kernels::{
    allocator,
    conv::{self, Epilogue, PackedWeight},
    dtype::ComputeDtype,
    elementwise, norm, pool,
};

use super::{
    describe::{anywhere, conv_shape, function, pool_shape, step_function, way},
    value::Value,
};
use crate::{
    exec::{
        error::ExecError,
        fuse::Step,
        numbers::with_numbers,
        observer::{Observer, Unobserved},
        options::InferenceOptions,
        schedule::{Schedule, Source},
        shapes::Shapes,
        times::StepTimes,
        values::{self, Values},
        ways::ConvolutionWays,
    },
    graph::{BatchNorm, Conv, Graph, NodeId, Op, Shape},
    model::{Model, Tensors},
};

/// A model made ready to run many times.
pub(in crate::exec) struct Prepared {
    schedule: Schedule<Work>,
}

/// What a step does, with its weights folded.
enum Work {
    Conv {
        conv: Conv,
        dtype: ComputeDtype,
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
    pub(in crate::exec) fn new(model: &Model, options: &InferenceOptions, dtype: ComputeDtype) -> Result<Self> {
        let (graph, tensors) = (model.graph(), model.tensors());
        Ok(Self { schedule: Schedule::new(graph, options, |step| work(graph, tensors, step, dtype))? })
    }

    /// Runs on images (n, channels, h, w), from the values given.
    pub(in crate::exec) fn run(
        &self,
        graph: &Graph,
        shapes: &Shapes,
        images: &Tensor,
        starts: &BTreeMap<NodeId, Tensor>,
        observer: &mut dyn Observer,
    ) -> std::result::Result<(Values, StepTimes), ExecError> {
        self.schedule.run((graph, shapes), images, starts, observer, |step, work, values, shared| {
            work.value((graph, shapes), step, values, shared)
        })
    }

    /// How the convolutions run.
    pub(in crate::exec) fn ways(&self) -> ConvolutionWays {
        let winograd = |(_, source): &&(Step, Source<Work>)| matches!(source, Source::Computed(Work::Conv { weight, .. }) if weight.is_winograd());
        ConvolutionWays { fused: self.schedule.fused(), winograd: self.schedule.steps.iter().filter(winograd).count() }
    }
}

/// Runs once on images (n, channels, h, w), in little memory: the weights of a step are made ready when it is its turn, and go
/// after it with all buffers that nobody uses.
pub(in crate::exec) fn run_once(
    model: &Model,
    options: &InferenceOptions,
    dtype: ComputeDtype,
    shapes: &Shapes,
    images: &Tensor,
) -> std::result::Result<Values, ExecError> {
    let (graph, tensors) = (model.graph(), model.tensors());
    let schedule = Schedule::new(graph, options, |_| Ok(()))?;
    let run = schedule.run((graph, shapes), images, &BTreeMap::new(), &mut Unobserved, |step, (), values, shared| {
        let value = work(graph, tensors, step, dtype)?.value((graph, shapes), step, values, shared);
        allocator::give_back();
        value
    });
    Ok(run?.0)
}

impl Work {
    /// The value of a step from those kept so far.
    fn value(
        &self,
        (graph, shapes): (&Graph, &Shapes),
        step: Step,
        values: &[Option<Value>],
        shared: bool,
    ) -> Result<Value> {
        let inputs = values::inputs(graph, values, step.first())?;
        let (input, out, batch) = (inputs[0], shapes.of[step.output()], shapes.batch);
        match self {
            Work::Plain => plain(&graph.node(step.first()).op, (out, batch), &inputs, shared),
            Work::Conv { conv, dtype, weight, bias, silu } => {
                let epilogue = match bias {
                    Some(bias) if *silu => Epilogue::BiasSilu(bias),
                    Some(bias) => Epilogue::Bias(bias),
                    None => Epilogue::None,
                };
                let shape = conv_shape(conv, *dtype, batch, input.shape);
                Value::compute(out, batch, shared, |result| {
                    input.with_channels(|input| conv::forward_packed(&shape, input, weight, epilogue, result))
                })
            }
            Work::Norm { norm, owned, activation } => {
                let kernel = norm::BatchNorm {
                    batch,
                    channels: norm.channels,
                    area: input.area(),
                    gamma: &owned.gamma,
                    beta: &owned.beta,
                    eps: norm.eps as f32,
                    activation: *activation,
                };
                Value::compute(out, batch, shared, |result| {
                    input.with_numbers(|input| norm::forward_eval(&kernel, input, &owned.mean, &owned.var, result))
                })
            }
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
            let (dtype, _) = way(conv, dtype, true);
            let weight = PackedWeight::new(&conv_shape(conv, dtype, 1, anywhere(conv)), &weight);
            Ok(Work::Conv { conv: *conv, dtype, weight, bias, silu: activation.is_some() })
        }
        (step, Op::BatchNorm(norm)) => {
            let owned = Averages::of(graph, tensors, step.first())?;
            Ok(Work::Norm { norm: *norm, owned, activation: step_function(step, graph) })
        }
        (_, Op::Input { .. } | Op::Conv(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. }) => {
            Ok(Work::Plain)
        }
        (_, Op::Add | Op::Concat | Op::Slice { .. }) => Ok(Work::Plain),
    }
}

/// The operations without weights; training runs them the same way. What only joins or cuts values shares their buffers, unless
/// others are to see it.
pub(super) fn plain(op: &Op, (shape, batch): (Shape, usize), inputs: &[&Value], shared: bool) -> Result<Value> {
    let compute = |fill: &mut dyn FnMut(&mut [f32]) -> Result<()>| Value::compute(shape, batch, shared, fill);
    let seen = |value: Value| match shared {
        true => compute(&mut |result| value.with_channels(|channels| channels.copy_to(result))),
        false => Ok(value),
    };
    let input = inputs[0];
    match op {
        Op::Activation(activation) => compute(&mut |result| {
            input.with_numbers(|input| elementwise::activate(function(*activation), input, result))
        }),
        Op::MaxPool(pool) => compute(&mut |result| {
            input.with_numbers(|numbers| pool::max_forward(&pool_shape(pool, batch, input.shape), numbers, result))
        }),
        Op::Upsample { scale } => compute(&mut |result| {
            let Shape { channels, height, width } = input.shape;
            input.with_numbers(|input| {
                elementwise::upsample(batch * channels, [height, width], [*scale; 2], input, result);
            })
        }),
        Op::Add => compute(&mut |result| match inputs {
            [a, b, rest @ ..] => {
                a.with_channels(|a| b.with_channels(|b| a.add(b, result)))??;
                rest.iter().try_for_each(|more| more.with_numbers(|more| elementwise::add_assign(result, more)))
            }
            _ => input.with_channels(|input| input.copy_to(result)),
        }),
        Op::Concat => seen(Value::concatenated(inputs)),
        Op::Slice { start, len } => seen(input.sliced(*start..start + len)),
        Op::Input { .. } | Op::Conv(_) | Op::BatchNorm(_) => {
            candle_core::bail!("a {} is no operation without weights", op.kind())
        }
    }
}
