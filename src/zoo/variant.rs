//! The published variants: how wide and deep each is, and the list of modules that it is made of.

use super::layer::{Block, Bottleneck, ConvBlock, Detect, Layer, Tower};
use crate::graph::{Conv, MaxPool};

/// Which of the two architectures a variant scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// YOLOv5 v6/v7: C3 blocks and a head with anchors.
    V5,
    /// YOLOv8: C2f blocks and a head of distributions.
    V8,
}

/// A published variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Its name, such as `yolov5n`.
    pub name: &'static str,
    /// The architecture it scales.
    pub family: Family,
    /// Factor of the numbers of bottlenecks.
    pub depth: f64,
    /// Factor of the widths.
    pub width: f64,
    /// Widths are cut off here before they are scaled.
    pub max_channels: usize,
}

const fn variant(name: &'static str, family: Family, depth: f64, width: f64, max_channels: usize) -> Variant {
    Variant { name, family, depth, width, max_channels }
}

/// All published variants.
pub const VARIANTS: [Variant; 10] = [
    variant("yolov5n", Family::V5, 0.33, 0.25, usize::MAX),
    variant("yolov5s", Family::V5, 0.33, 0.50, usize::MAX),
    variant("yolov5m", Family::V5, 0.67, 0.75, usize::MAX),
    variant("yolov5l", Family::V5, 1.00, 1.00, usize::MAX),
    variant("yolov5x", Family::V5, 1.33, 1.25, usize::MAX),
    variant("yolov8n", Family::V8, 0.33, 0.25, 1024),
    variant("yolov8s", Family::V8, 0.33, 0.50, 1024),
    variant("yolov8m", Family::V8, 0.67, 0.75, 768),
    variant("yolov8l", Family::V8, 1.00, 1.00, 512),
    variant("yolov8x", Family::V8, 1.00, 1.25, 512),
];

/// Pixels a cell, a level each.
pub(super) const STRIDES: [usize; 3] = [8, 16, 32];

/// Bins of each side's distance in YOLOv8's head.
pub(super) const REG_MAX: usize = 16;

/// YOLOv5's anchors, (width, height) in pixels, a level each.
pub(super) const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

impl Variant {
    /// The variant's modules for this many classes.
    pub fn layers(&self, classes: usize) -> Vec<Layer> {
        match self.family {
            Family::V5 => self.v5(classes),
            Family::V8 => self.v8(classes),
        }
    }

    /// Channels for a nominal width: cut off, scaled, and rounded up to a multiple of 8.
    fn channels(&self, nominal: usize) -> usize {
        let scaled = nominal.min(self.max_channels) as f64 * self.width;
        (scaled / 8.0).ceil() as usize * 8
    }

    /// Bottlenecks for a nominal number: scaled, rounded half to even, at least one.
    fn repeats(&self, nominal: usize) -> usize {
        ((nominal as f64 * self.depth).round_ties_even() as usize).max(1)
    }

    fn v5(&self, classes: usize) -> Vec<Layer> {
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|nominal| self.channels(nominal));
        let c3 = |input, output, nominal, add| c3(input, output, self.repeats(nominal), add);
        let mut stem = ConvBlock::new(3, c64, 6, 2);
        stem.conv.padding = [2; 2];
        let outputs = ANCHORS[0].len() * (5 + classes);
        let head = [c256, c512, c1024].map(|width| Conv { bias: true, ..Conv::same(width, outputs, 1, 1) });
        vec![
            after(Block::Conv(stem)),
            after(conv(c64, c128, 3, 2)),
            after(c3(c128, c128, 3, true)),
            after(conv(c128, c256, 3, 2)),
            after(c3(c256, c256, 6, true)),
            after(conv(c256, c512, 3, 2)),
            after(c3(c512, c512, 9, true)),
            after(conv(c512, c1024, 3, 2)),
            after(c3(c1024, c1024, 3, true)),
            after(sppf(c1024, c1024)),
            after(conv(c1024, c512, 1, 1)),
            after(Block::Upsample { scale: 2 }),
            cat(6),
            after(c3(2 * c512, c512, 3, false)),
            after(conv(c512, c256, 1, 1)),
            after(Block::Upsample { scale: 2 }),
            cat(4),
            after(c3(2 * c256, c256, 3, false)),
            after(conv(c256, c256, 3, 2)),
            cat(14),
            after(c3(2 * c256, c512, 3, false)),
            after(conv(c512, c512, 3, 2)),
            cat(10),
            after(c3(2 * c512, c1024, 3, false)),
            Layer { from: vec![17, 20, 23], block: Block::Detect(Detect::Anchors { m: head.to_vec() }) },
        ]
    }

    fn v8(&self, classes: usize) -> Vec<Layer> {
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|nominal| self.channels(nominal));
        let c2f = |input, output, nominal, add| c2f(input, output, self.repeats(nominal), add);
        let levels = [c256, c512, c1024];
        let boxes = (c256 / 4).max(4 * REG_MAX).max(16);
        let scores = c256.max(classes.min(100));
        let towers = |width, outputs| levels.map(|level| tower(level, width, outputs)).to_vec();
        let head = Detect::Distribution { cv2: towers(boxes, 4 * REG_MAX), cv3: towers(scores, classes) };
        vec![
            after(conv(3, c64, 3, 2)),
            after(conv(c64, c128, 3, 2)),
            after(c2f(c128, c128, 3, true)),
            after(conv(c128, c256, 3, 2)),
            after(c2f(c256, c256, 6, true)),
            after(conv(c256, c512, 3, 2)),
            after(c2f(c512, c512, 6, true)),
            after(conv(c512, c1024, 3, 2)),
            after(c2f(c1024, c1024, 3, true)),
            after(sppf(c1024, c1024)),
            after(Block::Upsample { scale: 2 }),
            cat(6),
            after(c2f(c1024 + c512, c512, 3, false)),
            after(Block::Upsample { scale: 2 }),
            cat(4),
            after(c2f(c512 + c256, c256, 3, false)),
            after(conv(c256, c256, 3, 2)),
            cat(12),
            after(c2f(c256 + c512, c512, 3, false)),
            after(conv(c512, c512, 3, 2)),
            cat(9),
            after(c2f(c512 + c1024, c1024, 3, false)),
            Layer { from: vec![15, 18, 21], block: Block::Detect(head) },
        ]
    }
}

fn after(block: Block) -> Layer {
    Layer { from: vec![-1], block }
}

fn cat(other: isize) -> Layer {
    Layer { from: vec![-1, other], block: Block::Concat }
}

fn conv(input: usize, output: usize, kernel: usize, stride: usize) -> Block {
    Block::Conv(ConvBlock::new(input, output, kernel, stride))
}

fn c3(input: usize, output: usize, repeats: usize, add: bool) -> Block {
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

fn c2f(input: usize, output: usize, repeats: usize, add: bool) -> Block {
    let hidden = output / 2;
    let three = ConvBlock::new(hidden, hidden, 3, 1);
    let bottleneck = Bottleneck { cv1: three.clone(), cv2: three, add };
    Block::C2f {
        cv1: ConvBlock::new(input, 2 * hidden, 1, 1),
        cv2: ConvBlock::new((2 + repeats) * hidden, output, 1, 1),
        m: vec![bottleneck; repeats],
    }
}

fn sppf(input: usize, output: usize) -> Block {
    let hidden = input / 2;
    Block::Sppf {
        cv1: ConvBlock::new(input, hidden, 1, 1),
        cv2: ConvBlock::new(4 * hidden, output, 1, 1),
        pool: MaxPool { kernel: 5, stride: 1, padding: 2 },
        times: 3,
        add: false,
    }
}

fn tower(input: usize, width: usize, outputs: usize) -> Tower {
    Tower {
        blocks: vec![ConvBlock::new(input, width, 3, 1), ConvBlock::new(width, width, 3, 1)],
        last: Conv { bias: true, ..Conv::same(width, outputs, 1, 1) },
    }
}
