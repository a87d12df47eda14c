//! The CPU path: the graph's steps on plain buffers, by our own kernels.
//!
//! Values live in reused buffers from the moment a step makes them until the last step that needs them. In training,
//! what the way back needs stays: the inputs of convolutions, and what normalisations and activations read.

mod backward;
mod fuse;
mod inference;
mod training;

use candle_core::{CpuStorage, Result, Storage, Tensor};

pub(super) use inference::Prepared;
pub(super) use training::{Recorded, train};

use super::{
    Operands,
    kernels::{
        conv::ConvShape,
        elementwise::{self, ChannelRange},
        pool::PoolShape,
        scratch::Scratch,
    },
};
use crate::graph::{Activation, Conv, Graph, MaxPool, Node, Shape};

/// A value while the graph runs: channels and size, and (n, c, h, w) numbers.
struct Value {
    shape: Shape,
    data: Scratch,
}

impl Value {
    fn area(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// The value as a tensor of its own.
    fn to_tensor(&self, batch: usize) -> Result<Tensor> {
        let Shape { channels, height, width } = self.shape;
        Tensor::from_slice(&self.data, (batch, channels, height, width), &candle_core::Device::Cpu)
    }
}

/// The numbers of a contiguous fp32 tensor on the CPU.
fn with_numbers<R>(tensor: &Tensor, use_numbers: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(numbers)) => {
            let start = layout.start_offset();
            Ok(use_numbers(&numbers[start..start + layout.shape().elem_count()]))
        }
        _ => {
            candle_core::bail!("expected fp32 numbers on the CPU, found {:?} on {:?}", tensor.dtype(), tensor.device())
        }
    }
}

fn conv_shape(conv: &Conv, operands: Operands, batch: usize, input: Shape) -> ConvShape {
    ConvShape {
        operands,
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
