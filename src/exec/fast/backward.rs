//! Training, backwards: the steps in reverse, gradients of values freed as soon as they are spent.

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use espalier_kernels::{
    conv, elementwise, norm, pool,
    scratch::{self, Scratch},
};

use super::{
    super::{ExecError, StepTimes, ValueGradients},
    Value, conv_shape, function,
    fuse::Step,
    in_layer, pool_shape, range,
    training::{Recorded, Statistics},
    with_numbers,
};
use crate::{
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
    /// The gradients of all trained tensors that the given ones reach, and how long the steps took.
    pub(in crate::exec) fn backward(
        mut self,
        given: &ValueGradients,
    ) -> std::result::Result<(Tensors, StepTimes), ExecError> {
        let graph = self.model.graph().clone();
        let mut pending = Pending { gradients: self.shapes.iter().map(|_| None).collect() };
        let outputs = graph.outputs().iter().zip(&given.outputs);
        let outputs = outputs.filter_map(|(&id, gradient)| Some((id, gradient.as_ref()?)));
        for (id, gradient) in outputs.chain(given.taps.iter().map(|(&id, gradient)| (id, gradient))) {
            self.check(&graph.node(id).name, self.shapes[id], gradient)?;
            with_numbers(gradient, |numbers| {
                pending.contribute(id, numbers.len(), |sum, accumulate| match accumulate {
                    true => elementwise::add_assign(sum, numbers),
                    false => elementwise::copy(sum, numbers),
                });
            })?;
        }
        let mut trained = Tensors::new();
        for step in std::mem::take(&mut self.steps).into_iter().rev() {
            let node = graph.node(step.first());
            if let Some(gradient) = pending.gradients[step.output()].take() {
                let input = node.inputs.first().map(|&id| self.shapes[id]);
                let start = Instant::now();
                in_layer(node, input, self.step_back(node, step, gradient, &mut pending, &mut trained))?;
                self.times.backward.push((step.first(), start.elapsed().as_secs_f64()));
            }
            self.values[step.output()] = None;
        }
        Ok((trained, self.times))
    }

    fn check(&self, layer: &str, shape: Shape, gradient: &Tensor) -> std::result::Result<(), ExecError> {
        let expected = vec![self.batch, shape.channels, shape.height, shape.width];
        if gradient.dims() == expected {
            return Ok(());
        }
        Err(ExecError::Gradient { layer: layer.to_owned(), expected, found: gradient.dims().to_vec() })
    }

    fn len(&self, id: NodeId) -> usize {
        let Shape { channels, height, width } = self.shapes[id];
        self.batch * channels * height * width
    }

    fn value(&self, id: NodeId) -> Result<&Value> {
        let missing =
            || candle_core::Error::Msg(format!("the value of `{}` was not kept", self.model.graph().node(id).name));
        self.values[id].as_ref().ok_or_else(missing)
    }

    /// From the gradient of a step's value to those of its inputs and of its tensors.
    fn step_back(
        &self,
        node: &Node,
        step: Step,
        mut gradient: Scratch,
        pending: &mut Pending,
        trained: &mut Tensors,
    ) -> Result<()> {
        match &node.op {
            Op::Input { .. } => {}
            Op::Conv(conv) => self.conv_back(conv, node, &gradient, pending, trained)?,
            Op::BatchNorm(norm) => {
                self.norm_back(norm, node, step, &mut gradient, trained)?;
                pending.give(node.inputs[0], gradient);
            }
            Op::Activation(activation) => {
                let input = self.value(node.inputs[0])?;
                let input = input.numbers()?;
                pending.contribute(node.inputs[0], input.len(), |sum, accumulate| {
                    elementwise::activate_backward(function(*activation), &input, &gradient, sum, accumulate);
                });
            }
            Op::MaxPool(pool) => {
                let input = self.value(node.inputs[0])?;
                let shape = pool_shape(pool, self.batch, input.shape);
                let input = input.numbers()?;
                pending.contribute(node.inputs[0], input.len(), |sum, accumulate| {
                    pool::max_backward(&shape, &input, &gradient, sum, accumulate);
                });
            }
            Op::Upsample { scale } => {
                let Shape { channels, height, width } = self.shapes[node.inputs[0]];
                let planes = self.batch * channels;
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
                let whole = self.shapes[step.output()];
                let mut start = 0;
                for &input in &node.inputs {
                    let count = self.shapes[input].channels;
                    let from = (&gradient[..], range(whole.channels, start));
                    pending.contribute(input, self.len(input), |sum, accumulate| {
                        let to = (sum, range(count, 0));
                        elementwise::copy_channels(whole.height * whole.width, count, from, to, accumulate);
                    });
                    start += count;
                }
            }
            Op::Slice { start, len } => {
                let whole = self.shapes[node.inputs[0]];
                pending.contribute(node.inputs[0], self.len(node.inputs[0]), |sum, accumulate| {
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

    fn conv_back(
        &self,
        conv: &Conv,
        node: &Node,
        gradient: &[f32],
        pending: &mut Pending,
        trained: &mut Tensors,
    ) -> Result<()> {
        let input = self.value(node.inputs[0])?;
        let shape = conv_shape(conv, self.dtype, self.batch, input.shape);
        let mut weight_gradient = vec![0.0; conv.weight_shape().iter().product()];
        conv::backward_weight(&shape, &input.numbers()?, gradient, &mut weight_gradient);
        let tensor = Tensor::from_vec(weight_gradient, &conv.weight_shape()[..], &Device::Cpu)?;
        trained.insert(node.tensor_name("weight"), tensor);
        if conv.bias {
            let mut bias_gradient = vec![0.0; conv.out_channels];
            conv::backward_bias(&shape, gradient, &mut bias_gradient);
            trained.insert(node.tensor_name("bias"), Tensor::from_vec(bias_gradient, conv.out_channels, &Device::Cpu)?);
        }
        let reads_images = matches!(self.model.graph().node(node.inputs[0]).op, Op::Input { .. });
        if !reads_images {
            self.owned(node, "weight", |weight| {
                pending.contribute(node.inputs[0], shape.input_len(), |sum, accumulate| {
                    conv::backward_data(&shape, gradient, weight, sum, accumulate);
                });
            })?;
        }
        Ok(())
    }

    /// Turns the gradient of the normalised (and activated) value into that of the normalisation's input, in place.
    fn norm_back(
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
        let numbers = x.numbers()?;
        self.with_norm(norm, node, step, x, |kernel| {
            let owned = (&mut gamma_gradient[..], &mut beta_gradient[..]);
            norm::backward_train_in_place(kernel, &numbers, mean, variance, gradient, owned.0, owned.1);
        })?;
        for (suffix, numbers) in [("weight", gamma_gradient), ("bias", beta_gradient)] {
            trained.insert(node.tensor_name(suffix), Tensor::from_vec(numbers, norm.channels, &Device::Cpu)?);
        }
        Ok(())
    }
}
