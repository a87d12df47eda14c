//! Modules as the published lists have them, from a few numbers each.

use super::layer::{Block, Bottleneck, ConvBlock, Layer, Tower};
use crate::graph::{Conv, MaxPool};

/// A module that reads the one before it.
pub(super) fn after(block: Block) -> Layer {
    Layer { from: vec![-1], block }
}

/// Joins the channels of the module before it and of another.
pub(super) fn cat(other: isize) -> Layer {
    Layer { from: vec![-1, other], block: Block::Concat }
}

/// A convolution with normalisation and activation.
pub(super) fn conv(input: usize, output: usize, kernel: usize, stride: usize) -> Block {
    Block::Conv(ConvBlock::new(input, output, kernel, stride))
}

/// YOLOv5's block.
pub(super) fn c3(input: usize, output: usize, repeats: usize, add: bool) -> Block {
    let hidden = output / 2;
    let bottleneck =
        Bottleneck { cv1: ConvBlock::new(hidden, hidden, 1, 1), cv2: ConvBlock::new(hidden, hidden, 3, 1), add };
    Block::C3 {
        cv1: ConvBlock::new(input, hidden, 1, 1),
        cv2: ConvBlock::new(input, hidden, 1, 1),
        cv3: ConvBlock::new(2 * hidden, output, 1, 1),
        m: vec![bottleneck; repeats],
    }
}

/// YOLOv8's block.
pub(super) fn c2f(input: usize, output: usize, repeats: usize, add: bool) -> Block {
    let hidden = output / 2;
    let three = ConvBlock::new(hidden, hidden, 3, 1);
    let bottleneck = Bottleneck { cv1: three.clone(), cv2: three, add };
    Block::C2f {
        cv1: ConvBlock::new(input, 2 * hidden, 1, 1),
        cv2: ConvBlock::new((2 + repeats) * hidden, output, 1, 1),
        m: vec![bottleneck; repeats],
    }
}

/// Pooling over three sizes.
pub(super) fn sppf(input: usize, output: usize) -> Block {
    let hidden = input / 2;
    Block::Sppf {
        cv1: ConvBlock::new(input, hidden, 1, 1),
        cv2: ConvBlock::new(4 * hidden, output, 1, 1),
        pool: MaxPool { kernel: 5, stride: 1, padding: 2 },
        times: 3,
        add: false,
    }
}

/// A tower of the head: two convolutions, and the last.
pub(super) fn tower(input: usize, width: usize, outputs: usize) -> Tower {
    Tower {
        blocks: vec![ConvBlock::new(input, width, 3, 1), ConvBlock::new(width, width, 3, 1)],
        last: Conv { bias: true, ..Conv::same(width, outputs, 1, 1) },
    }
}
