//! Training, backwards: the steps in reverse, gradients of values freed after their last use.

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use espalier_kernels::{
    conv, elementwise, norm, pool,
    scratch::{self, Scratch},
};

use super::{
    describe::{conv_shape, function, pool_shape, range},
    training::{Recorded, Statistics},
    value::Value,
};
use crate::{
    exec::{
        error::ExecError,
        fuse::{self, Step},
        numbers::with_numbers,
        observer::{self, Observer},
        options::NormStatistics,
        times::StepTimes,
        values::{self, Gradients, ValueGradients},
    },
    graph::{BatchNorm, Conv, Node, NodeId, Op, Shape},
    model::Tensors,
};

/// Gradients of values that later steps have left so far.
struct Pending {
    gradients: Vec<Option<Scratch>>,
}

impl Pending {
    /// Lets `add` put a contribution to a value's gradient into its buffer: added where there is one already (`true`),
    /// else overwriting all of it.
    fn contribute(&mut self, id: NodeId, len: usize, add: impl FnOnce(&mut [f32], bool)) {
        match &mut self.gradients[id] {
            Some(gradient) => add(gradient, true),
            empty => add(empty.insert(scratch::take(len)), false),
        }
    }

    /// As [`Pending::contribute`], with a buffer that can become the gradient itself.
    fn give(&mut self, id: NodeId, contribution: Scratch) {
        match &mut self.gradients[id] {
            Some(gradient) => elementwise::add_assign(gradient, &contribution),
            empty => *empty = Some(contribution),
        }
    }
}

impl Recorded {
    /// The gradients of all trained tensors that the given ones reach and of the values asked for, and how long the steps
    /// took.
    pub(in crate::exec) fn backward(
        mut self,
        given: &ValueGradients,
        observer: &mut dyn Observer,
    ) -> std::result::Result<(Gradients, StepTimes), ExecError> {
        let model = self.model.clone();
        let graph = model.graph();
        fuse::check_observed(graph, self.steps.iter().copied(), observer)?;
        let mut pending = Pending { gradients: graph.nodes().iter().map(|_| None).collect() };
        let outputs = graph.outputs().iter().zip(&given.outputs);
        let outputs = outputs.filter_map(|(&id, gradient)| Some((id, gradient.as_ref()?)));
        for (id, gradient) in outputs.chain(given.taps.iter().map(|(&id, gradient)| (id, gradient))) {
            with_numbers(gradient, |numbers| {
                pending.contribute(id, numbers.len(), |sum, accumulate| match accumulate {
                    true => elementwise::add_assign(sum, numbers),
                    false => elementwise::copy(sum, numbers),
                });
            })?;
        }
        let mut found = Gradients::default();
        for step in std::mem::take(&mut self.steps).into_iter().rev() {
            let (first, id) = (step.first(), step.output());
            if let Some(gradient) = pending.gradients[id].take() {
                let tapped = self.gradient_taps.contains(&id);
                if tapped || observer.wants(id) {
                    let tensor = Tensor::from_slice(&gradient, self.shapes.dims(id), &Device::Cpu)?;
                    observer::show_gradient(graph, observer, id, &tensor)?;
                    if tapped {
                        found.taps.insert(id, tensor);
                    }
                }
                let start = Instant::now();
                let wants = |&input: &NodeId| {
                    let is_image = matches!(graph.node(input).op, Op::Input { .. });
                    !is_image || self.gradient_taps.contains(&input) || observer.wants(input)
                };
                let wanted = graph.node(first).inputs.iter().any(wants);
                let result = self.step_backward(step, wanted, gradient, &mut pending, &mut found.tensors);
                self.shapes.in_layer(graph, first, result)?;
                self.times.backward.push((first, start.elapsed().as_secs_f64()));
            }
            self.values[id] = None;
        }
        Ok((found, self.times))
    }

    fn value(&self, id: NodeId) -> Result<&Value> {
        values::kept(self.model.graph(), &self.values, id)
    }

    /// From the gradient of a step's value to those of its inputs and of its tensors. A convolution leaves out that of an
    /// input that no one wants.
    fn step_backward(
        &self,
        step: Step,
        wanted: bool,
        mut gradient: Scratch,
        pending: &mut Pending,
        trained: &mut Tensors,
    ) -> Result<()> {
        let node = self.model.graph().node(step.first());
        let batch = self.shapes.batch;
        match &node.op {
            Op::Input { .. } => {}
            Op::Conv(conv) => self.conv_backward(conv, node, wanted, &gradient, pending, trained)?,
            Op::BatchNorm(norm) => {
                self.norm_backward(norm, node, step, &mut gradient, trained)?;
                pending.give(node.inputs[0], gradient);
            }
            Op::Activation(activation) => {
                self.value(node.inputs[0])?.with_numbers(|input| {
                    pending.contribute(node.inputs[0], input.len(), |sum, accumulate| {
                        elementwise::activate_backward(function(*activation), input, &gradient, sum, accumulate);
                    });
                })?;
            }
            Op::MaxPool(pool) => {
                let input = self.value(node.inputs[0])?;
                let shape = pool_shape(pool, batch, input.shape);
                input.with_numbers(|input| {
                    pending.contribute(node.inputs[0], input.len(), |sum, accumulate| {
                        pool::max_backward(&shape, input, &gradient, sum, accumulate);
                    });
                })?;
            }
            Op::Upsample { scale } => {
                let Shape { channels, height, width } = self.shapes.of[node.inputs[0]];
                let planes = batch * channels;
                pending.contribute(node.inputs[0], planes * height * width, |sum, accumulate| {
                    elementwise::upsample_backward(planes, [height, width], [*scale; 2], &gradient, sum, accumulate);
                });
            }
            Op::Add => {
                for &input in &node.inputs[1..] {
                    pending.contribute(input, gradient.len(), |sum, accumulate| match accumulate {
                        true => elementwise::add_assign(sum, &gradient),
                        false => elementwise::copy(sum, &gradient),
                    });
                }
                pending.give(node.inputs[0], gradient);
            }
            Op::Concat => {
                let whole = self.shapes.of[step.output()];
                let mut start = 0;
                for &input in &node.inputs {
                    let count = self.shapes.of[input].channels;
                    let from = (&gradient[..], range(whole.channels, start));
                    pending.contribute(input, self.shapes.len(input), |sum, accumulate| {
                        let to = (sum, range(count, 0));
                        elementwise::copy_channels(whole.height * whole.width, count, from, to, accumulate);
                    });
                    start += count;
                }
            }
            Op::Slice { start, len } => {
                let whole = self.shapes.of[node.inputs[0]];
                pending.contribute(node.inputs[0], self.shapes.len(node.inputs[0]), |sum, accumulate| {
                    if !accumulate {
                        sum.fill(0.0);
                    }
                    let (from, to) = ((&gradient[..], range(*len, 0)), (sum, range(whole.channels, *start)));
                    elementwise::copy_channels(whole.height * whole.width, *len, from, to, true);
                });
            }
        }
        Ok(())
    }

    fn conv_backward(
        &self,
        conv: &Conv,
        node: &Node,
        wanted: bool,
        gradient: &[f32],
        pending: &mut Pending,
        trained: &mut Tensors,
    ) -> Result<()> {
        let input = self.value(node.inputs[0])?;
        let shape = conv_shape(conv, self.dtype, self.shapes.batch, input.shape);
        let mut weight_gradient = vec![0.0; conv.weight_shape().iter().product()];
        input.with_channels(|input| conv::backward_weight(&shape, input, gradient, &mut weight_gradient))?;
        let tensor = Tensor::from_vec(weight_gradient, &conv.weight_shape()[..], &Device::Cpu)?;
        trained.insert(node.tensor_name("weight"), tensor);
        if conv.bias {
            let mut bias_gradient = vec![0.0; conv.out_channels];
            conv::backward_bias(&shape, gradient, &mut bias_gradient);
            trained.insert(node.tensor_name("bias"), Tensor::from_vec(bias_gradient, conv.out_channels, &Device::Cpu)?);
        }
        if wanted {
            self.owned(node, "weight", |weight| {
                pending.contribute(node.inputs[0], shape.input_len(), |sum, accumulate| {
                    conv::backward_data(&shape, gradient, weight, sum, accumulate);
                });
            })?;
        }
        Ok(())
    }

    /// Turns the gradient of the normalised (and activated) value into that of the normalisation's input, in place.
    fn norm_backward(
        &self,
        norm: &BatchNorm,
        node: &Node,
        step: Step,
        gradient: &mut [f32],
        trained: &mut Tensors,
    ) -> Result<()> {
        let x = self.value(node.inputs[0])?;
        let Statistics { mean, variance } = &self.statistics[&step.first()];
        let [mut gamma_gradient, mut beta_gradient] = [vec![0.0; norm.channels], vec![0.0; norm.channels]];
        self.with_norm(norm, node, step, x, |kernel| {
            let through_statistics = self.source == NormStatistics::Batch;
            let of_affine = [&mut gamma_gradient[..], &mut beta_gradient];
            x.with_numbers(|x| {
                norm::backward(kernel, through_statistics, x, [mean, variance], gradient, of_affine);
            })
        })??;
        for (suffix, numbers) in [("weight", gamma_gradient), ("bias", beta_gradient)] {
            trained.insert(node.tensor_name(suffix), Tensor::from_vec(numbers, norm.channels, &Device::Cpu)?);
        }
        Ok(())
    }
}
