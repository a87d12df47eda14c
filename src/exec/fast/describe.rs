//! The graph's operations as the kernels describe them.

use espalier_kernels::{
    conv::ConvShape,
    dtype::ComputeDtype,
    elementwise::{self, ChannelRange},
    pool::PoolShape,
};

use crate::{
    exec::fuse::Step,
    graph::{Activation, Conv, Graph, MaxPool, Shape},
};

/// A convolution of a value of this shape.
pub(super) fn conv_shape(conv: &Conv, dtype: ComputeDtype, batch: usize, input: Shape) -> ConvShape {
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

/// A max-pool of a value of this shape.
pub(super) fn pool_shape(pool: &MaxPool, batch: usize, input: Shape) -> PoolShape {
    PoolShape {
        planes: batch * input.channels,
        in_hw: [input.height, input.width],
        kernel: [pool.kernel; 2],
        stride: [pool.stride; 2],
        padding: [pool.padding; 2],
    }
}

/// The kernels' name for an activation function.
pub(super) fn function(activation: Activation) -> elementwise::Activation {
    match activation {
        Activation::Silu => elementwise::Activation::Silu,
        Activation::Relu => elementwise::Activation::Relu,
        Activation::LeakyRelu { slope } => elementwise::Activation::LeakyRelu(slope as f32),
        Activation::Hardswish => elementwise::Activation::Hardswish,
    }
}

/// The kernels' name for the activation that runs with a step's first operation.
pub(super) fn step_function(step: Step, graph: &Graph) -> elementwise::Activation {
    step.activation(graph).map_or(elementwise::Activation::None, function)
}

/// Channels from `start` on, of a value that has `channels`.
pub(super) fn range(channels: usize, start: usize) -> ChannelRange {
    ChannelRange { channels, start }
}
