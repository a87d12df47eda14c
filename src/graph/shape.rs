//! Shape inference: how many channels every value has, and how high and wide it is for an image size.

use serde::{Deserialize, Serialize};

use super::{
    error::GraphError,
    network::Graph,
    node::{Node, NodeId},
    op::{Activation, BatchNorm, Op},
};

/// More channels than any detector has. A description from a file could otherwise ask for any amount of memory, since
/// concatenations need no weights.
const MAX_CHANNELS: usize = 1 << 16;

/// The largest number of elements in a weight or in a value of one image: 256 GiB of fp32. Sizes in bytes, and products
/// of a few such numbers with small factors, then fit 64 bits.
const MAX_ELEMENTS: usize = 1 << 36;

/// Shape of one value without the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Graph {
    /// Channels of every node's output.
    ///
    /// # Errors
    /// Names the first layer whose inputs do not fit its attributes.
    pub fn channels(&self) -> Result<Vec<usize>, GraphError> {
        let mut channels: Vec<usize> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let inputs: Vec<usize> = node.inputs.iter().map(|&id: &NodeId| channels[id]).collect();
            let output = output_channels(node, &inputs).and_then(|channels| within_limits(node, channels));
            channels.push(output.map_err(|reason| bad(node, reason))?);
        }
        Ok(channels)
    }

    /// Shape of every node's output for images of this height and width.
    ///
    /// # Errors
    /// Names the first layer whose inputs do not fit, or whose output would be empty or too large.
    pub fn shapes(&self, image: [usize; 2]) -> Result<Vec<Shape>, GraphError> {
        let channels = self.channels()?;
        let mut sizes: Vec<[usize; 2]> = Vec::with_capacity(self.nodes().len());
        for (node, &channels) in self.nodes().iter().zip(&channels) {
            let inputs: Vec<[usize; 2]> = node.inputs.iter().map(|&id: &NodeId| sizes[id]).collect();
            let size = output_size(node, &inputs, image).and_then(|[height, width]| {
                let fits = product(&[channels, height, width]).is_some();
                let reason = || format!("its output would be {channels}×{height}×{width}, which is too large");
                if fits { Ok([height, width]) } else { Err(reason()) }
            });
            sizes.push(size.map_err(|reason| bad(node, reason))?);
        }
        let shape = |(channels, [height, width]): (usize, [usize; 2])| Shape { channels, height, width };
        Ok(channels.into_iter().zip(sizes).map(shape).collect())
    }
}

/// The product, unless it goes beyond [`MAX_ELEMENTS`].
fn product(extents: &[usize]) -> Option<usize> {
    let product = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    product.filter(|&product| product <= MAX_ELEMENTS)
}

fn within_limits(node: &Node, channels: usize) -> Result<usize, String> {
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(format!("it gives {channels} channels; 1 to {MAX_CHANNELS} are possible"));
    }
    match node.op.parameters().iter().find(|parameter| product(&parameter.shape).is_none()) {
        Some(huge) => Err(format!("its {} of shape {:?} is too large", huge.suffix, huge.shape)),
        None => Ok(channels),
    }
}

pub(super) fn bad(node: &Node, reason: String) -> GraphError {
    GraphError::BadNode { name: node.name.clone(), kind: node.op.kind(), reason }
}

fn single<T: Copy>(inputs: &[T]) -> Result<T, String> {
    match inputs {
        [only] => Ok(*only),
        _ => Err(format!("expected one input, found {}", inputs.len())),
    }
}

fn expect(what: &str, expected: usize, found: usize) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("expected {expected} {what}, its input has {found}")) }
}

fn output_channels(node: &Node, inputs: &[usize]) -> Result<usize, String> {
    match &node.op {
        Op::Input { channels } => {
            expect("inputs", 0, inputs.len())?;
            Ok(*channels)
        }
        Op::Conv(conv) => {
            expect("channels", conv.in_channels, single(inputs)?)?;
            let degenerate = [conv.kernel, conv.stride, conv.dilation].concat().contains(&0);
            if conv.groups == 0 || degenerate || conv.out_channels == 0 || conv.in_channels == 0 {
                return Err("channels, groups, kernel, stride and dilation must be at least 1".into());
            }
            let reach = |axis: usize| conv.dilation[axis].saturating_mul(conv.kernel[axis]);
            if (0..2).any(|axis| conv.padding[axis] > reach(axis)) {
                return Err(format!("its padding {:?} is larger than its kernel", conv.padding));
            }
            if conv.in_channels % conv.groups != 0 || conv.out_channels % conv.groups != 0 {
                let [i, o, g] = [conv.in_channels, conv.out_channels, conv.groups];
                return Err(format!("{i} input and {o} output channels do not divide into {g} groups"));
            }
            Ok(conv.out_channels)
        }
        Op::BatchNorm(norm) => {
            expect("channels", norm.channels, single(inputs)?)?;
            let BatchNorm { channels, eps, momentum } = *norm;
            if !(eps > 0.0 && eps < 1.0) {
                return Err(format!("its eps is {eps}; expected a number between 0 and 1"));
            }
            if !(0.0..=1.0).contains(&momentum) {
                return Err(format!("its momentum is {momentum}; expected a number from 0 to 1"));
            }
            Ok(channels)
        }
        Op::Activation(Activation::LeakyRelu { slope }) if !(-1.0..=1.0).contains(slope) => {
            Err(format!("its slope is {slope}; expected a number from -1 to 1"))
        }
        Op::MaxPool(pool) if pool.kernel == 0 || pool.stride == 0 || pool.padding > pool.kernel / 2 => {
            Err(format!("window {}, stride {} and padding {} do not fit", pool.kernel, pool.stride, pool.padding))
        }
        Op::Upsample { scale } if !(1..=64).contains(scale) => Err(format!("scale {scale} is not from 1 to 64")),
        Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } => single(inputs),
        Op::Add => {
            let first = *inputs.first().ok_or("expected at least one input, found none")?;
            inputs.iter().try_for_each(|&channels| expect("channels on every input", first, channels))?;
            Ok(first)
        }
        Op::Concat if inputs.is_empty() => Err("expected at least one input, found none".into()),
        Op::Concat => {
            let total = inputs.iter().try_fold(0usize, |total, &channels| total.checked_add(channels));
            total.ok_or_else(|| "too many channels".into())
        }
        Op::Slice { start, len } => {
            let channels = single(inputs)?;
            match start.checked_add(*len) {
                Some(end) if end <= channels && *len > 0 => Ok(*len),
                _ => Err(format!("takes {len} channels from {start} on, its input has {channels}")),
            }
        }
    }
}

/// Positions that a window of `kernel` taps takes along `size` pixels; `None` where it does not fit once.
fn windows(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Option<usize> {
    let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    Some(padded.checked_sub(reach)?.checked_div(stride)? + 1)
}

fn output_size(node: &Node, inputs: &[[usize; 2]], image: [usize; 2]) -> Result<[usize; 2], String> {
    let too_small = |[h, w]: [usize; 2]| format!("its window does not fit a map of {h}×{w}; use a larger image");
    match &node.op {
        Op::Input { .. } => Ok(image),
        Op::Conv(conv) => {
            let size = single(inputs)?;
            let along = |axis: usize| {
                windows(size[axis], conv.kernel[axis], conv.stride[axis], conv.padding[axis], conv.dilation[axis])
            };
            along(0).zip(along(1)).map(|(h, w)| [h, w]).ok_or_else(|| too_small(size))
        }
        Op::MaxPool(pool) => {
            let size = single(inputs)?;
            let along = |axis: usize| windows(size[axis], pool.kernel, pool.stride, pool.padding, 1);
            along(0).zip(along(1)).map(|(h, w)| [h, w]).ok_or_else(|| too_small(size))
        }
        Op::Upsample { scale } => Ok(single(inputs)?.map(|extent| extent.saturating_mul(*scale))),
        Op::BatchNorm(_) | Op::Activation(_) | Op::Slice { .. } => single(inputs),
        Op::Add | Op::Concat => {
            let first = *inputs.first().ok_or("expected at least one input, found none")?;
            match inputs.iter().find(|&&size| size != first) {
                None => Ok(first),
                Some([h, w]) => Err(format!(
                    "its inputs have different sizes, {}×{} and {h}×{w}; use an image size that is a multiple of the largest stride",
                    first[0], first[1]
                )),
            }
        }
    }
}
