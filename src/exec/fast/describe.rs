//! The graph's operations as the kernels describe them.

use espalier_kernels::{
    conv::ConvShape,
    dtype::ComputeDtype,
    elementwise::{self, ChannelRange},
    pool::PoolShape,
};

use crate::{
    exec::fuse::Step,
    graph::{Activation, Conv, Graph, MaxPool, Op, Shape},
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

/// The smallest value that a convolution takes; nothing of how it runs depends on the size.
pub(super) fn anywhere(conv: &Conv) -> Shape {
    Shape { channels: conv.in_channels, height: 1, width: 1 }
}

/// What a convolution multiplies where `dtype` is asked for, and whether by Winograd's way. That is done in fp32; in inference it
/// is the faster one beside bf16 too.
pub(super) fn way(conv: &Conv, dtype: ComputeDtype, inference: bool) -> (ComputeDtype, bool) {
    let asked = if inference { ComputeDtype::Fp32 } else { dtype };
    match conv_shape(conv, asked, 1, anywhere(conv)).suits_winograd() {
        true => (asked, true),
        false => (dtype, false),
    }
}

/// [`way`] in words; nothing for an operation that runs in one way only.
pub(crate) fn way_in_words(op: &Op, dtype: ComputeDtype, inference: bool) -> Option<String> {
    let Op::Conv(conv) = op else { return None };
    let (dtype, winograd) = way(conv, dtype, inference);
    let name = if winograd { "Winograd" } else { "direct" };
    Some(format!("{name} {}", dtype.name()))
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
