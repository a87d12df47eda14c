//! The operations, each in candle's own.
//!
//! Where candle's operation or its gradient is known to be wrong or missing, the operation is composed of others:
//! convolution whose remainders differ by axis, max-pooling, upsampling. Nothing here is copied between host and device.

use candle_core::{Result, Tensor};

use crate::{
    graph::{Activation, BatchNorm, Conv, MaxPool, Node, Op},
    model::Tensors,
};

/// The operations without weights.
pub(super) fn plain(op: &Op, inputs: &[&Tensor]) -> Result<Tensor> {
    match op {
        Op::Activation(activation) => activate(*activation, inputs[0]),
        Op::MaxPool(pool) => max_pool(pool, inputs[0]),
        Op::Upsample { scale } => upsample(*scale, inputs[0]),
        Op::Add => inputs[1..].iter().try_fold(inputs[0].clone(), |sum, &input| sum + input),
        Op::Concat => Tensor::cat(inputs, 1),
        Op::Slice { start, len } => inputs[0].narrow(1, *start, *len)?.contiguous(),
        Op::Input { .. } | Op::Conv(_) | Op::BatchNorm(_) => {
            candle_core::bail!("a {} is no operation without weights", op.kind())
        }
    }
}

/// A convolution of `input` (n, channels, h, w).
///
/// Candle pads, unless an axis needs another padding or leaves another remainder than the other: its operation knows
/// one padding, and its backward pass one remainder. Then the input is padded here, and what no window reaches dropped.
pub(super) fn convolve(conv: &Conv, input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ([stride, other_stride], [dilation, other_dilation]) = (conv.stride, conv.dilation);
    if stride != other_stride || dilation != other_dilation {
        candle_core::bail!(
            "stride {:?} or dilation {:?} differs by axis, which this device's path cannot run",
            conv.stride,
            conv.dilation
        );
    }
    let (_, _, height, width) = input.dims4()?;
    let remainder = |axis: usize, extent: usize| {
        let reach = dilation * (conv.kernel[axis] - 1) + 1;
        (extent + 2 * conv.padding[axis]).checked_sub(reach).map_or(0, |spare| spare % stride)
    };
    let remainders = [remainder(0, height), remainder(1, width)];
    let padding = conv.padding[0];
    let alike = padding == conv.padding[1] && remainders[0] == remainders[1];
    let output = if alike && remainders[0] <= height.min(width) {
        input.contiguous()?.conv2d(weight, padding, stride, dilation, conv.groups)?
    } else {
        let mut padded = input.clone();
        for (axis, dim) in [(0, 2), (1, 3)] {
            padded = padded.pad_with_zeros(dim, conv.padding[axis], conv.padding[axis])?;
            padded = padded.narrow(dim, 0, padded.dim(dim)? - remainders[axis])?;
        }
        padded.contiguous()?.conv2d(weight, 0, stride, dilation, conv.groups)?
    };
    match bias {
        Some(bias) => output.broadcast_add(&per_channel(bias)?),
        None => Ok(output),
    }
}

/// A number a channel, to be broadcast over (n, channels, h, w).
pub(super) fn per_channel(tensor: &Tensor) -> Result<Tensor> {
    tensor.reshape((1, (), 1, 1))
}

/// `input` · scale + shift, with a number a channel.
pub(super) fn affine(input: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    input.broadcast_mul(&per_channel(scale)?)?.broadcast_add(&per_channel(shift)?)
}

/// What a normalisation does with its running averages: a scale and a shift for each channel.
pub(super) fn averages(norm: &BatchNorm, node: &Node, tensors: &Tensors) -> Result<[Tensor; 2]> {
    let owned = |suffix| &tensors[&node.tensor_name(suffix)];
    let scale = (owned("weight") / (owned("running_var") + norm.eps)?.sqrt()?)?;
    let shift = (owned("bias") - (owned("running_mean") * &scale)?)?;
    Ok([scale, shift])
}

/// An activation function.
pub(super) fn activate(activation: Activation, input: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => input.silu(),
        Activation::Relu => input.relu(),
        Activation::LeakyRelu { slope } => input.relu()? - (input.neg()?.relu()? * slope)?,
        Activation::Hardswish => {
            let gate = ((input + 3.0)?.relu()? - (input - 3.0)?.relu()?)?;
            (input * gate)? / 6.0
        }
    }
}

/// Maximum along columns, then along rows, of views shifted by one place each. The first maximum in reading order takes
/// the gradient, as in PyTorch.
fn max_pool(pool: &MaxPool, input: &Tensor) -> Result<Tensor> {
    let mut value = input.clone();
    for dim in [3, 2] {
        let extent = value.dim(dim)?;
        let windows = (extent + 2 * pool.padding - pool.kernel) / pool.stride + 1;
        // So long that a whole stride follows the last window's first place, whatever the shift.
        let length = windows * pool.stride + pool.kernel - 1;
        let padded = pad_with_negative_infinity(&value, dim, pool.padding, length - extent - pool.padding)?;
        let shifted = |offset: usize| strided(&padded.narrow(dim, offset, windows * pool.stride)?, dim, pool.stride);
        value = shifted(0)?;
        for offset in 1..pool.kernel {
            let other = shifted(offset)?;
            value = larger(&value, &other)?;
        }
    }
    Ok(value)
}

/// The larger of two numbers, the first where they are equal; a NaN is larger than any. (Candle's own maximum shares the
/// gradient among equals.)
fn larger(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    (second.gt(first)? + second.ne(second)?)?.where_cond(second, first)
}

/// Every `stride`-th place along an axis, whose extent is a multiple of it.
fn strided(input: &Tensor, dim: usize, stride: usize) -> Result<Tensor> {
    if stride == 1 {
        return Ok(input.clone());
    }
    let mut shape = input.dims().to_vec();
    shape[dim] /= stride;
    shape.insert(dim + 1, stride);
    input.reshape(shape)?.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)
}

fn pad_with_negative_infinity(input: &Tensor, dim: usize, left: usize, right: usize) -> Result<Tensor> {
    let border = |width: usize| {
        let mut shape = input.dims().to_vec();
        shape[dim] = width;
        Tensor::full(f32::NEG_INFINITY, shape, input.device())
    };
    match (left, right) {
        (0, 0) => Ok(input.clone()),
        (0, right) => Tensor::cat(&[input, &border(right)?], dim),
        (left, 0) => Tensor::cat(&[&border(left)?, input], dim),
        (left, right) => Tensor::cat(&[&border(left)?, input, &border(right)?], dim),
    }
}

fn upsample(scale: usize, input: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = input.dims4()?;
    input
        .reshape((batch, channels, height, 1, width, 1))?
        .broadcast_as((batch, channels, height, scale, width, scale))?
        .contiguous()?
        .reshape((batch, channels, height * scale, width * scale))
}
