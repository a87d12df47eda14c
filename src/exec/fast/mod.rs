//! The CPU path: the graph's steps on plain buffers, by our own kernels.
//!
//! Values live in reused buffers from the moment a step makes them until the last step that needs them. In training,
//! what the way back needs stays: the inputs of convolutions, and what normalisations and activations read. Images, outputs
//! and taps are tensors, which steps read and write where they are.

mod backward;
mod fuse;
mod inference;
mod training;
mod value;

use candle_core::{Result, Tensor};

pub(super) use inference::Prepared;
pub(super) use training::{Recorded, train};
use value::Value;

use espalier_kernels::{
    conv::ConvShape,
    elementwise::{self, ChannelRange},
    pool::PoolShape,
};

use super::{ComputeDtype, numbers::Numbers};
use crate::graph::{Activation, Conv, Graph, MaxPool, Node, NodeId, Shape};

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

/// Channels from `start` on, of a value that has `channels`.
fn range(channels: usize, start: usize) -> ChannelRange {
    ChannelRange { channels, start }
}

/// Whether others see a node's value.
fn is_shared(graph: &Graph, taps: &[NodeId], id: NodeId) -> bool {
    graph.outputs().contains(&id) || taps.contains(&id)
}

/// Shapes of all values for a batch of images.
fn shapes(graph: &Graph, images: &Tensor) -> Result<(usize, Vec<Shape>)> {
    let (batch, _, height, width) = images.dims4()?;
    Ok((batch, graph.shapes([height, width]).map_err(candle_core::Error::wrap)?))
}

fn in_layer<T>(node: &Node, input: Option<Shape>, result: Result<T>) -> std::result::Result<T, super::ExecError> {
    result.map_err(|source| super::ExecError::Layer {
        layer: node.name.clone(),
        kind: node.op.kind(),
        input: input.map(|shape| vec![shape.channels, shape.height, shape.width]).unwrap_or_default(),
        source: Box::new(source),
    })
}
