//! YOLOv8's lists of modules (Jocher et al. 2023).

use super::blocks::{after, c2f, cat, conv, sppf, tower};
use super::layer::{Block, Detect, Layer};
use super::scale::Scale;

/// Bins of each side's distance.
pub(super) const REG_MAX: usize = 16;

/// The head on maps of these widths, that those modules give.
fn detect(from: &[isize], widths: &[usize], classes: usize) -> Layer {
    let first = widths.first().copied().unwrap_or(0);
    let (boxes, scores) = ((first / 4).max(4 * REG_MAX).max(16), first.max(classes.min(100)));
    let towers = |width, outputs| widths.iter().map(|&level| tower(level, width, outputs)).collect();
    let head = Detect::Distribution { cv2: towers(boxes, 4 * REG_MAX), cv3: towers(scores, classes) };
    Layer { from: from.to_vec(), block: Block::Detect(head) }
}

/// Nominal widths 64 to 1024, scaled.
fn widths(scale: &Scale) -> [usize; 5] {
    [64, 128, 256, 512, 1024].map(|nominal| scale.channels(nominal))
}

/// All before the neck.
fn backbone(scale: &Scale) -> Vec<Layer> {
    let [c64, c128, c256, c512, c1024] = widths(scale);
    let c2f = |input, output, nominal, add| c2f(input, output, scale.repeats(nominal), add);
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
    ]
}

/// Strides 8 to 32.
pub(super) fn from_8(scale: &Scale, classes: usize) -> Vec<Layer> {
    let [_, _, c256, c512, c1024] = widths(scale);
    let c2f = |input, output| c2f(input, output, scale.repeats(3), false);
    let mut layers = backbone(scale);
    layers.extend([
        after(Block::Upsample { scale: 2 }),
        cat(6),
        after(c2f(c1024 + c512, c512)),
        after(Block::Upsample { scale: 2 }),
        cat(4),
        after(c2f(c512 + c256, c256)),
        after(conv(c256, c256, 3, 2)),
        cat(12),
        after(c2f(c256 + c512, c512)),
        after(conv(c512, c512, 3, 2)),
        cat(9),
        after(c2f(c512 + c1024, c1024)),
        detect(&[15, 18, 21], &[c256, c512, c1024], classes),
    ]);
    layers
}

/// Strides 4 to 32, for small objects.
pub(super) fn from_4(scale: &Scale, classes: usize) -> Vec<Layer> {
    let [_, c128, c256, c512, c1024] = widths(scale);
    let c2f = |input, output| c2f(input, output, scale.repeats(3), false);
    let mut layers = backbone(scale);
    layers.extend([
        after(Block::Upsample { scale: 2 }),
        cat(6),
        after(c2f(c1024 + c512, c512)),
        after(Block::Upsample { scale: 2 }),
        cat(4),
        after(c2f(c512 + c256, c256)),
        after(Block::Upsample { scale: 2 }),
        cat(2),
        after(c2f(c256 + c128, c128)),
        after(conv(c128, c128, 3, 2)),
        cat(15),
        after(c2f(c128 + c256, c256)),
        after(conv(c256, c256, 3, 2)),
        cat(12),
        after(c2f(c256 + c512, c512)),
        after(conv(c512, c512, 3, 2)),
        cat(9),
        after(c2f(c512 + c1024, c1024)),
        detect(&[18, 21, 24, 27], &[c128, c256, c512, c1024], classes),
    ]);
    layers
}
