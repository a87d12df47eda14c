//! YOLOv5's lists of modules (Jocher et al. 2020, v6/v7).

use super::blocks::{after, c3, cat, conv, sppf};
use super::layer::{Block, ConvBlock, Detect, Layer};
use super::scale::Scale;
use crate::graph::Conv;

/// Anchors of strides 8, 16 and 32, (width, height) in pixels, a level each.
pub(super) const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

/// Anchors of strides 8 to 64 in the variants for large images.
pub(super) const ANCHORS_TO_64: [[[f32; 2]; 3]; 4] = [
    [[19.0, 27.0], [44.0, 40.0], [38.0, 94.0]],
    [[96.0, 68.0], [86.0, 152.0], [180.0, 137.0]],
    [[140.0, 301.0], [303.0, 264.0], [238.0, 542.0]],
    [[436.0, 615.0], [739.0, 380.0], [925.0, 792.0]],
];

/// The first convolution.
fn stem(width: usize) -> Layer {
    let mut stem = ConvBlock::new(3, width, 6, 2);
    stem.conv.padding = [2; 2];
    after(Block::Conv(stem))
}

/// The head on maps of these widths, that those modules give.
fn detect(from: &[isize], widths: &[usize], classes: usize) -> Layer {
    let outputs = ANCHORS[0].len() * (5 + classes);
    let last = |&width: &usize| Conv { bias: true, ..Conv::same(width, outputs, 1, 1) };
    Layer { from: from.to_vec(), block: Block::Detect(Detect::Anchors { m: widths.iter().map(last).collect() }) }
}

/// Strides 8 to 32.
pub(super) fn to_32(scale: &Scale, classes: usize) -> Vec<Layer> {
    let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|nominal| scale.channels(nominal));
    let c3 = |input, output, nominal, add| c3(input, output, scale.repeats(nominal), add);
    vec![
        stem(c64),
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
        detect(&[17, 20, 23], &[c256, c512, c1024], classes),
    ]
}

/// Strides 8 to 64.
pub(super) fn to_64(scale: &Scale, classes: usize) -> Vec<Layer> {
    let [c64, c128, c256, c512] = [64, 128, 256, 512].map(|nominal| scale.channels(nominal));
    let [c768, c1024] = [768, 1024].map(|nominal| scale.channels(nominal));
    let c3 = |input, output, nominal, add| c3(input, output, scale.repeats(nominal), add);
    vec![
        stem(c64),
        after(conv(c64, c128, 3, 2)),
        after(c3(c128, c128, 3, true)),
        after(conv(c128, c256, 3, 2)),
        after(c3(c256, c256, 6, true)),
        after(conv(c256, c512, 3, 2)),
        after(c3(c512, c512, 9, true)),
        after(conv(c512, c768, 3, 2)),
        after(c3(c768, c768, 3, true)),
        after(conv(c768, c1024, 3, 2)),
        after(c3(c1024, c1024, 3, true)),
        after(sppf(c1024, c1024)),
        after(conv(c1024, c768, 1, 1)),
        after(Block::Upsample { scale: 2 }),
        cat(8),
        after(c3(2 * c768, c768, 3, false)),
        after(conv(c768, c512, 1, 1)),
        after(Block::Upsample { scale: 2 }),
        cat(6),
        after(c3(2 * c512, c512, 3, false)),
        after(conv(c512, c256, 1, 1)),
        after(Block::Upsample { scale: 2 }),
        cat(4),
        after(c3(2 * c256, c256, 3, false)),
        after(conv(c256, c256, 3, 2)),
        cat(20),
        after(c3(2 * c256, c512, 3, false)),
        after(conv(c512, c512, 3, 2)),
        cat(16),
        after(c3(2 * c512, c768, 3, false)),
        after(conv(c768, c768, 3, 2)),
        cat(12),
        after(c3(2 * c768, c1024, 3, false)),
        detect(&[23, 26, 29, 32], &[c256, c512, c768, c1024], classes),
    ]
}
