//! Input planes with their zero border, laid out so that every kernel tap of every output is one addition away.
//!
//! The outputs of a convolution are numbered `j = row · pitch + column`, `pitch` being the width of a padded row. A
//! step (stride) of `s` splits a plane into `s × s` phase planes, each with every `s`-th row and column. Then the input
//! that tap `t` wants for output `j` is `plane[offset[t] + j]`, for all `j`, and a vector of outputs wants a contiguous
//! vector of inputs. The price: `pitch − width` outputs a row are computed and thrown away. Zeros at the left end of a
//! row serve as zeros at the right end of the row before, so that is one column of a padded 3×3 convolution.
//!
//! In bf16 a plane of words holds two channels.
//!
//! An image is worked through in bands of rows whose padded planes stay in the second-level cache.

use super::dtype::{self, ComputeDtype};
use super::scratch;
use super::simd;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Where a tap looks, relative to the output's position times the step: `[rows, columns]`.
pub(super) type Tap = [isize; 2];

/// The layout of one padded channel (or two, in bf16), and where each tap starts in it.
#[derive(Debug)]
pub(super) struct Planes {
    dtype: ComputeDtype,
    in_hw: [usize; 2],
    step: [usize; 2],
    /// Input coordinate of padded row and column 0.
    origin: [isize; 2],
    /// Those that some tap uses, in the order of their planes.
    phases: Vec<Phase>,
    /// Rows of outputs, of all bands.
    out_rows: usize,
    /// Rows of outputs of a band, at most.
    pub height: usize,
    /// Padded rows of a band.
    rows: usize,
    /// Floats between the planes of one channel.
    pub plane: usize,
    /// Floats between the padded rows, also between the rows of outputs.
    pub pitch: usize,
    /// Floats between channels.
    pub channel: usize,
    /// For each tap, where output 0 reads, from the start of a channel.
    pub offsets: Vec<usize>,
}

/// Every `step`-th row and column.
#[derive(Debug)]
struct Phase {
    /// Padded row at which it begins.
    row: usize,
    /// Input column of its first input.
    column: usize,
    /// Columns of its plane that hold inputs; the others are zero.
    inputs: Range<usize>,
}

/// What bands should be like.
#[derive(Clone, Copy, Default)]
pub(super) struct Band {
    /// What the planes hold.
    pub dtype: ComputeDtype,
    /// Channels to be padded, and channels of the outputs' size that should share the cache with them.
    pub channels: usize,
    pub more_channels: usize,
    /// Floats for these in one band.
    pub floats: usize,
    /// Outputs a band should have, even if it takes more floats.
    pub positions: usize,
    /// Number of bands, for threads to share.
    pub at_least: usize,
    /// What that number is a multiple of, where threads would otherwise have more and fewer of a few; 0 where it need not be.
    pub multiple: usize,
}

/// How many floats beyond the last plane a kernel may read (and ignore).
pub(super) const SLACK: usize = 128;

impl Planes {
    /// The layout for outputs of size `out_hw` that read an input of size `in_hw` at `taps`.
    pub(super) fn new(in_hw: [usize; 2], out_hw: [usize; 2], step: [usize; 2], taps: &[Tap], band: Band) -> Self {
        let origin = [0, 1].map(|a| taps.iter().map(|t| t[a]).min().unwrap_or(0));
        let place = |t: &Tap, a: usize| (t[a] - origin[a]) as usize;
        let mut phases: Vec<[usize; 2]> = taps.iter().map(|t| [0, 1].map(|a| place(t, a) % step[a])).collect();
        phases.sort_unstable();
        phases.dedup();
        let reach = [0, 1].map(|a| taps.iter().map(|t| place(t, a) / step[a]).max().unwrap_or(0));
        let columns = out_hw[1] + reach[1];
        let spans = phases.iter().map(|p| span(in_hw[1], step[1], p[1], origin[1], columns));
        let (lead, end) = spans.fold((columns, 0), |(l, e), (from, to)| (l.min(from), e.max(to)));
        let pitch = out_hw[1].max(end).max(columns - lead.min(columns));
        let row = pitch * (band.dtype.words(band.channels) * phases.len() + band.more_channels);
        let fits = (band.floats / row.max(1)).saturating_sub(reach[0]).max(band.positions.div_ceil(pitch)).max(1);
        let bands = out_hw[0].div_ceil(fits).max(band.at_least).next_multiple_of(band.multiple.max(1));
        let height = out_hw[0].div_ceil(bands).max(1);
        let rows = height + reach[0];
        let plane = (rows * pitch + (columns - pitch.min(columns))).next_multiple_of(16);
        // An odd number of cache lines between channels, so that they spread over the sets of the cache.
        let channel = (plane * phases.len()).div_ceil(16) | 1;
        let offset = |t: &Tap| {
            let phase = [0, 1].map(|a| place(t, a) % step[a]);
            let index = phases.binary_search(&phase).unwrap_or(0);
            index * plane + place(t, 0) / step[0] * pitch + place(t, 1) / step[1]
        };
        let offsets = taps.iter().map(offset).collect();
        let phases = phases.iter().map(|&[row, column]| {
            let (first, end) = span(in_hw[1], step[1], column, origin[1], pitch);
            let column = ((first * step[1] + column) as isize + origin[1]).max(0) as usize;
            Phase { row, column, inputs: first..end }
        });
        Planes {
            dtype: band.dtype,
            in_hw,
            step,
            origin,
            phases: phases.collect(),
            out_rows: out_hw[0],
            height,
            rows,
            plane,
            pitch,
            channel: channel * 16,
            offsets,
        }
    }

    /// Whether padded planes would be the input itself.
    pub(super) fn same(&self) -> bool {
        let out = [self.out_rows, self.pitch];
        let plain = self.offsets == [0] && self.origin == [0, 0] && self.step == [1, 1];
        plain && out == self.in_hw && self.dtype == ComputeDtype::Fp32
    }

    /// Number of bands.
    pub(super) fn bands(&self) -> usize {
        self.out_rows.div_ceil(self.height)
    }

    /// The rows of outputs of a band. Bands are nearly equal, so that threads are.
    pub(super) fn rows_of(&self, band: usize) -> Range<usize> {
        let start = |band: usize| (band * self.out_rows).div_ceil(self.bands());
        start(band)..start(band + 1)
    }

    /// Writes what a band needs of each channel of `from` (`in_hw` floats each), with borders, into `to`
    /// (`self.channel` words each, or for each two).
    pub(super) fn fill(&self, band: usize, from: &[&[f32]], to: &mut [f32]) {
        match self.dtype {
            ComputeDtype::Fp32 => simd::dispatch(Fill { planes: self, band, from, to }),
            ComputeDtype::Bf16 => {
                let mut both = scratch::take(2 * self.channel);
                for (from, to) in from.chunks(2).zip(to.chunks_exact_mut(self.channel)) {
                    let filled = &mut both[..from.len() * self.channel];
                    simd::dispatch(Fill { planes: self, band, from, to: filled });
                    dtype::pair_rows(filled, self.channel, to);
                }
            }
        }
    }

    #[inline(always)]
    fn fill_channel(&self, band: usize, from: &[f32], to: &mut [f32]) {
        let [height, width] = self.in_hw;
        for (phase, plane) in self.phases.iter().zip(to.chunks_mut(self.plane)) {
            let Range { start: first, end } = phase.inputs.clone();
            let (body, tail) = plane.split_at_mut(self.rows * self.pitch);
            let mut y = ((self.rows_of(band).start * self.step[0] + phase.row) as isize) + self.origin[0];
            for line in body.chunks_exact_mut(self.pitch) {
                if y < 0 || y >= height as isize || first >= end {
                    line.fill(0.0);
                } else {
                    let source = &from[y as usize * width + phase.column..][..(end - first - 1) * self.step[1] + 1];
                    line[..first].fill(0.0);
                    match self.step[1] {
                        1 => line[first..end].copy_from_slice(source),
                        2 => every::<2>(source, &mut line[first..end]),
                        4 => every::<4>(source, &mut line[first..end]),
                        step => {
                            let source = source.iter().step_by(step);
                            line[first..end].iter_mut().zip(source).for_each(|(to, from)| *to = *from)
                        }
                    }
                    line[end..].fill(0.0);
                }
                y += self.step[0] as isize;
            }
            tail.fill(0.0);
        }
        let used = self.plane * self.phases.len();
        to[used..].fill(0.0);
    }
}

struct Fill<'a> {
    planes: &'a Planes,
    band: usize,
    from: &'a [&'a [f32]],
    to: &'a mut [f32],
}

impl WithSimd for Fill<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Fill { planes, band, from, to } = self;
        for (from, to) in from.iter().zip(to.chunks_mut(planes.channel)) {
            planes.fill_channel(band, from, to);
        }
    }
}

/// Takes elements 0, `STEP`, 2·`STEP`, … of `from`.
#[inline(always)]
fn every<const STEP: usize>(from: &[f32], to: &mut [f32]) {
    let (whole, rest) = from.as_chunks::<STEP>();
    for (to, chunk) in to.iter_mut().zip(whole) {
        *to = chunk[0];
    }
    if let ([first, ..], Some(to)) = (rest, to.last_mut()) {
        *to = *first;
    }
}

/// The columns `first..end` of a padded row of `columns` that hold input columns; `first ≥ end` when there are none.
fn span(width: usize, step: usize, phase: usize, origin: isize, columns: usize) -> (usize, usize) {
    let at = phase as isize + origin;
    let first = if at >= 0 { 0 } else { (-at) as usize };
    let first = first.div_ceil(step);
    let left = width as isize - at;
    let end = if left <= 0 { 0 } else { (left as usize).div_ceil(step) };
    (first.min(columns), end.min(columns))
}
