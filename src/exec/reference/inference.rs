//! Inference: normalisations folded into convolutions once; values are freed after their last reader.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::ops;
use crate::{
    exec::{
        error::ExecError,
        fuse::Step,
        observer::Observer,
        options::InferenceOptions,
        schedule::Schedule,
        shapes::Shapes,
        values::{self, Values},
        ways::ConvolutionWays,
    },
    graph::{Conv, Graph, NodeId, Op},
    model::{Model, Tensors},
};

/// A model made ready to run many times.
pub(in crate::exec) struct Prepared {
    schedule: Schedule<Work>,
}

/// What a step does before its activation, with its weights folded.
enum Work {
    Conv {
        conv: Conv,
        weight: Tensor,
        bias: Option<Tensor>,
    },
    /// A normalisation that follows no convolution of its own: scale and shift.
    Norm([Tensor; 2]),
    /// An operation without weights.
    Plain,
}

impl Prepared {
    /// Folds and plans.
    pub(in crate::exec) fn new(model: &Model, options: &InferenceOptions) -> Result<Self> {
        let (graph, tensors) = (model.graph(), model.tensors());
        Ok(Self { schedule: Schedule::new(graph, options, |step| work(graph, tensors, step))? })
    }

    /// Runs on images (n, channels, h, w), from the values given.
    pub(in crate::exec) fn run(
        &self,
        graph: &Graph,
        shapes: &Shapes,
        images: &Tensor,
        starts: &BTreeMap<NodeId, Tensor>,
        observer: &mut dyn Observer,
    ) -> std::result::Result<Values, ExecError> {
        let run = self.schedule.run((graph, shapes), images, starts, observer, |step, work, values, _| {
            let inputs: Vec<&Tensor> = values::inputs(graph, values, step.first())?;
            let value = match work {
                Work::Conv { conv, weight, bias } => ops::convolve(conv, inputs[0], weight, bias.as_ref()),
                Work::Norm([scale, shift]) => ops::affine(inputs[0], scale, shift),
                Work::Plain => ops::plain(&graph.node(step.first()).op, &inputs),
            }?;
            step.activation(graph).map_or(Ok(value.clone()), |activation| ops::activate(activation, &value))
        });
        Ok(run?.0)
    }

    /// How the convolutions run.
    pub(in crate::exec) fn ways(&self) -> ConvolutionWays {
        ConvolutionWays { fused: self.schedule.fused(), winograd: 0 }
    }
}

fn work(graph: &Graph, tensors: &Tensors, step: Step) -> Result<Work> {
    let node = graph.node(step.first());
    match (step, &node.op) {
        (Step::ConvBlock { norm, .. }, Op::Conv(conv)) => {
            let owned = |suffix| tensors[&node.tensor_name(suffix)].clone();
            let (weight, bias) = (owned("weight"), conv.bias.then(|| owned("bias")));
            let Some((norm, Op::BatchNorm(op))) = norm.map(|norm| (graph.node(norm), &graph.node(norm).op)) else {
                return Ok(Work::Conv { conv: *conv, weight, bias });
            };
            let [scale, shift] = ops::averages(op, norm, tensors)?;
            let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
            let bias = match bias {
                Some(bias) => ((bias * scale)? + shift)?,
                None => shift,
            };
            Ok(Work::Conv { conv: *conv, weight, bias: Some(bias) })
        }
        (_, Op::BatchNorm(norm)) => Ok(Work::Norm(ops::averages(norm, node, tensors)?)),
        (_, Op::Input { .. } | Op::Conv(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. }) => {
            Ok(Work::Plain)
        }
        (_, Op::Add | Op::Concat | Op::Slice { .. }) => Ok(Work::Plain),
    }
}
