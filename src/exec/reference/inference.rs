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
        reach,
        shapes::Shapes,
        values::Values,
        ways::ConvolutionWays,
    },
    graph::{Conv, Graph, NodeId, Op},
    model::{Model, Tensors},
};

/// A model made ready to run many times.
pub(in crate::exec) struct Prepared {
    steps: Vec<(Step, Work)>,
    taps: Vec<NodeId>,
    /// For each node, how many steps read its value (outputs and taps count as a reader that never comes).
    readers: Vec<usize>,
}

/// What a step does before its activation, with its weights folded.
enum Work {
    /// The images themselves.
    Images,
    /// A value that the run is given.
    Start,
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
        let graph = model.graph();
        let InferenceOptions { taps, observed, starts } = options;
        let needed = reach::needed(graph, starts, taps);
        let mut readers = vec![0; graph.nodes().len()];
        graph.outputs().iter().chain(taps).for_each(|&id| readers[id] += 1);
        let mut steps = Vec::new();
        for step in fuse::for_inference(graph, &needed, starts, taps.iter().chain(observed).copied()) {
            let work = match starts.contains(&step.first()) {
                true => Work::Start,
                false => work(graph, model.tensors(), step)?,
            };
            work.reads(graph, step).iter().for_each(|&input| readers[input] += 1);
            steps.push((step, work));
        }
        Ok(Self { steps, taps: taps.clone(), readers })
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
        fuse::check_observed(graph, self.steps.iter().map(|(step, _)| *step), observer)?;
        let mut values: BTreeMap<NodeId, Tensor> = BTreeMap::new();
        let mut readers = self.readers.clone();
        for (step, work) in &self.steps {
            let (first, id) = (step.first(), step.output());
            let inputs: Vec<Tensor> = work.reads(graph, *step).iter().map(|input| values[input].clone()).collect();
            let value = match work {
                Work::Images => Ok(images.clone()),
                Work::Start => Ok(starts[&id].clone()),
                Work::Conv { conv, weight, bias } => ops::convolve(conv, &inputs[0], weight, bias.as_ref()),
                Work::Norm([scale, shift]) => ops::affine(&inputs[0], scale, shift),
                Work::Plain => ops::plain(&graph.node(first).op, &inputs),
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
            for input in work.reads(graph, *step) {
                readers[*input] -= 1;
                if readers[*input] == 0 {
                    values.remove(input);
                }
            }
        }
        Ok(Values {
            outputs: graph.outputs().iter().map(|id| values[id].clone()).collect(),
            taps: self.taps.iter().map(|&id| (id, values[&id].clone())).collect(),
        })
    }

    /// How the convolutions run.
    pub(in crate::exec) fn ways(&self) -> ConvolutionWays {
        ConvolutionWays { fused: self.steps.iter().filter(|(step, _)| step.is_fused()).count(), winograd: 0 }
    }
}

impl Work {
    /// The nodes that a step reads.
    fn reads<'g>(&self, graph: &'g Graph, step: Step) -> &'g [NodeId] {
        match self {
            Work::Images | Work::Start => &[],
            Work::Conv { .. } | Work::Norm(_) | Work::Plain => &graph.node(step.first()).inputs,
        }
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
        (_, Op::Input { .. }) => Ok(Work::Images),
        (_, Op::Conv(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. }) => Ok(Work::Plain),
        (_, Op::Add | Op::Concat | Op::Slice { .. }) => Ok(Work::Plain),
    }
}
