//! The CPU path: the graph's steps on plain buffers, by our own kernels.
//!
//! Values live in reused buffers from the moment a step makes them until the last step that needs them. In training,
//! what the backward pass needs stays: the inputs of convolutions, and what normalisations and activations read. Images,
//! outputs, taps and what an observer sees are tensors, which steps read and write where they are.

mod backward;
mod inference;
mod training;
mod value;

use candle_core::{Result, Tensor};

pub(super) use inference::Prepared;
pub(super) use training::{Recorded, train};
use value::Value;

use espalier_kernels::{
    conv::ConvShape,
    dtype::ComputeDtype,
    elementwise::{self, ChannelRange},
    pool::PoolShape,
};

use super::{fuse::Step, numbers::Numbers};
use crate::graph::{Activation, Conv, Graph, MaxPool, NodeId, Shape};

/// The numbers of an fp32 tensor on the CPU.
fn with_numbers<R>(tensor: &Tensor, use_numbers: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    Ok(use_numbers(&Numbers::of(&tensor)?))
}

fn conv_shape(conv: &Conv, dtype: ComputeDtype, batch: usize, input: Shape) -> ConvShape {
    ConvShape {
        dtype,
        batch,
        in_channels: conv.in_channels,
        out_channels: conv.out_channels,
        in_hw: [input.height, input.width],
        kernel: conv.kernel,
        stride: conv.stride,
        padding: conv.padding,
        dilation: conv.dilation,
        groups: conv.groups,
    }
}

fn pool_shape(pool: &MaxPool, batch: usize, input: Shape) -> PoolShape {
    PoolShape {
        planes: batch * input.channels,
        in_hw: [input.height, input.width],
        kernel: [pool.kernel; 2],
        stride: [pool.stride; 2],
        padding: [pool.padding; 2],
    }
}

/// The kernels' name for an activation function.
fn function(activation: Activation) -> elementwise::Activation {
    match activation {
        Activation::Silu => elementwise::Activation::Silu,
        Activation::Relu => elementwise::Activation::Relu,
        Activation::LeakyRelu { slope } => elementwise::Activation::LeakyRelu(slope as f32),
        Activation::Hardswish => elementwise::Activation::Hardswish,
    }
}

/// The kernels' name for the activation that runs with a step's first operation.
fn step_function(step: Step, graph: &Graph) -> elementwise::Activation {
    step.activation(graph).map_or(elementwise::Activation::None, function)
}

/// Channels from `start` on, of a value that has `channels`.
fn range(channels: usize, start: usize) -> ChannelRange {
    ChannelRange { channels, start }
}

/// The values of a node's inputs, in order.
///
/// # Errors
/// Where one was not computed or not kept.
fn inputs<'v>(graph: &Graph, values: &'v [Option<Value>], id: NodeId) -> Result<Vec<&'v Value>> {
    graph.node(id).inputs.iter().map(|&input| value(graph, values, input)).collect()
}

/// A node's value.
///
/// # Errors
/// Where it was not computed or not kept.
fn value<'v>(graph: &Graph, values: &'v [Option<Value>], id: NodeId) -> Result<&'v Value> {
    let missing = || candle_core::Error::Msg(format!("the value of `{}` is not there", graph.node(id).name));
    values[id].as_ref().ok_or_else(missing)
}
