//! Weights packed for the tiles.

use super::dtype::{self, ComputeDtype};
use super::scratch::{self, Scratch};
use super::simd;
use super::sizes::Sizes;
use super::tile::MOST_ROWS;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Weights in the order in which tiles read them: for each group and panel, `[in_channel][tap][row]`; words of bf16 hold
/// those of two input channels.
pub(super) struct Packed {
    data: Scratch,
    /// The panels of any group.
    pub panels: Vec<Panel>,
    group: usize,
}

/// `rows` output channels from `first` on, with their weights at `start` of the group's.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub first: usize,
    pub rows: usize,
    pub start: usize,
}

impl Packed {
    /// The weights of a group.
    pub(super) fn group(&self, group: usize) -> &[f32] {
        &self.data[group * self.group..][..self.group]
    }

    /// The output channels of some panels.
    pub(super) fn channels(&self, panels: Range<usize>) -> Range<usize> {
        let panels = &self.panels[panels];
        let end = panels.last().map_or(0, |panel| panel.first + panel.rows);
        panels.first().map_or(0, |panel| panel.first)..end
    }
}

/// Where the kernels of a convolution lie.
#[derive(Clone, Copy)]
pub(super) struct Kernels<'a> {
    pub numbers: &'a [f32],
    /// Floats from one group, output channel and input channel to the next.
    pub group: usize,
    pub output: usize,
    pub input: usize,
}

impl Kernels<'_> {
    /// Where the kernel for two channels, counted within their group, begins.
    pub(super) fn start(&self, group: usize, output: usize, input: usize) -> usize {
        group * self.group + output * self.output + input * self.input
    }
}

/// Packs some taps of the kernels; taps are offsets from a kernel's start.
pub(super) fn pack(sizes: &Sizes, taps: &[usize], kernels: Kernels) -> Packed {
    let depth = sizes.words() * taps.len();
    let mut panels = Vec::new();
    let mut first = 0;
    let mut left = sizes.out_channels.div_ceil(simd::dispatch(PanelRows));
    while first < sizes.out_channels {
        // Panels of nearly equal heights: a low one would leave the multipliers waiting for their own results.
        let rows = (sizes.out_channels - first).div_ceil(left);
        left -= 1;
        panels.push(Panel { first, rows, start: first * depth });
        first += rows;
    }
    let group = sizes.out_channels * depth;
    let mut data = scratch::take(sizes.groups * group);
    data.par_chunks_mut(group.max(1)).enumerate().for_each(|(g, data)| {
        let mut rest = data;
        let parts = panels.iter().map(|panel| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(panel.rows * depth);
            rest = after;
            (panel, part)
        });
        parts.collect::<Vec<_>>().into_par_iter().for_each(|(panel, part)| {
            for row in 0..panel.rows {
                let Kernels { numbers, input, .. } = kernels;
                let numbers = &numbers[kernels.start(g, panel.first + row, 0)..];
                let mut at = row;
                for channel in (0..sizes.in_channels).step_by(sizes.dtype.in_word()) {
                    let here = channel * input;
                    for &tap in taps {
                        part[at] = match sizes.dtype {
                            ComputeDtype::Fp32 => numbers[here + tap],
                            ComputeDtype::Bf16 if channel + 1 == sizes.in_channels => {
                                dtype::word(numbers[here + tap], 0.0)
                            }
                            ComputeDtype::Bf16 => dtype::word(numbers[here + tap], numbers[here + input + tap]),
                        };
                        at += panel.rows;
                    }
                }
            }
        });
    });
    Packed { data, panels, group }
}

/// How many output channels a tile of this machine has.
struct PanelRows;

impl WithSimd for PanelRows {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        MOST_ROWS[usize::from(S::REGISTER_COUNT >= 32)]
    }
}
