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
    let panels = panels(sizes.out_channels, depth);
    let group = sizes.out_channels * depth;
    let mut data = scratch::take(sizes.groups * group);
    data.par_chunks_mut(group.max(1)).enumerate().for_each(|(g, data)| {
        fill(&panels, data, |panel, part| {
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

/// Cuts output channels, of `depth` weights each, into panels of nearly equal heights: a low one would leave the multipliers
/// waiting for their own results.
pub(super) fn panels(out_channels: usize, depth: usize) -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut first = 0;
    let mut left = out_channels.div_ceil(simd::dispatch(PanelRows));
    while first < out_channels {
        let rows = (out_channels - first).div_ceil(left);
        left -= 1;
        panels.push(Panel { first, rows, start: first * depth });
        first += rows;
    }
    panels
}

/// Lets `write` put the weights of each panel in their place in `data`.
pub(super) fn fill(panels: &[Panel], data: &mut [f32], write: impl Fn(&Panel, &mut [f32]) + Sync) {
    let mut rest = data;
    let mut parts = Vec::new();
    for (panel, next) in panels.iter().zip(panels.iter().skip(1).map(|next| Some(next.start)).chain([None])) {
        let len = next.map_or(rest.len(), |next| next - panel.start);
        let (part, after) = rest.split_at_mut(len);
        parts.push((panel, part));
        rest = after;
    }
    parts.into_par_iter().for_each(|(panel, part)| write(panel, part));
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
