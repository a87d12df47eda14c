//! Inference: normalisations folded into convolutions once; values are freed after their last reader.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::ops;
use crate::{
    exec::{
        error::ExecError,
        fuse::{self, Step},
        observer::{self, Observer},
        options::InferenceOptions,
        schedule::{Schedule, Source},
        shapes::Shapes,
        values::Values,
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
        let Schedule { steps, taps, readers } = &self.schedule;
        fuse::check_observed(graph, steps.iter().map(|(step, _)| *step), observer)?;
        let mut values: BTreeMap<NodeId, Tensor> = BTreeMap::new();
        let mut readers = readers.clone();
        for (step, source) in steps {
            let (first, id) = (step.first(), step.output());
            let inputs: Vec<Tensor> = source.reads(graph, *step).iter().map(|input| values[input].clone()).collect();
            let value = match source {
                Source::Images => Ok(images.clone()),
                Source::Given => Ok(starts[&id].clone()),
                Source::Computed(Work::Conv { conv, weight, bias }) => {
                    ops::convolve(conv, &inputs[0], weight, bias.as_ref())
                }
                Source::Computed(Work::Norm([scale, shift])) => ops::affine(&inputs[0], scale, shift),
                Source::Computed(Work::Plain) => ops::plain(&graph.node(first).op, &inputs),
            };
            let value = value.and_then(|value| match step.activation(graph) {
                Some(activation) => ops::activate(activation, &value),
                None => Ok(value),
            });
            let value = shapes.in_layer(graph, first, value)?;
            observer::show_value(graph, observer, id, &value)?;
            if readers[id] > 0 {
                values.insert(id, value);
            }
            for input in source.reads(graph, *step) {
                readers[*input] -= 1;
                if readers[*input] == 0 {
                    values.remove(input);
                }
            }
        }
        Ok(Values {
            outputs: graph.outputs().iter().map(|id| values[id].clone()).collect(),
            taps: taps.iter().map(|&id| (id, values[&id].clone())).collect(),
        })
    }

    /// How the convolutions run.
    pub(in crate::exec) fn ways(&self) -> ConvolutionWays {
        ConvolutionWays { fused: self.schedule.steps.iter().filter(|(step, _)| step.is_fused()).count(), winograd: 0 }
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
