//! The micro-kernel behind forward convolution and its data gradient: many output channels' correlations of one set of
//! padded planes, straight from the planes (no im2col).
//!
//! A tile is `R` output channels by `V` vectors of consecutive outputs, all in registers. For each input channel and tap
//! it loads `V` vectors, broadcasts `R` weights and does `R · V` fused multiply-adds. Weights are packed beforehand in
//! panels of `R` rows, in the order in which the tile reads them.

use super::planes::{Band, Planes, SLACK};
use super::scratch::{self, Scratch};
use super::simd::{self, Shared};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// What happens to a finished sum.
#[derive(Clone, Copy)]
pub(super) enum Finish<'a> {
    /// It overwrites the output.
    Set,
    /// It is added to the output.
    Add,
    /// The channel's bias is added, then it overwrites the output.
    Bias(&'a [f32]),
    /// The same, then SiLU.
    BiasSilu(&'a [f32]),
}

/// Where the outputs of a pass go: output (row, column) to `start + row · rows + column · columns` of its channel.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub hw: [usize; 2],
    pub start: usize,
    pub rows: usize,
    pub columns: usize,
}

/// One correlation over the planes: some taps, their weights, and where the outputs go.
pub(super) struct Pass {
    pub offsets: Vec<usize>,
    pub weights: Packed,
    pub target: Target,
}

/// Sizes of a whole problem; channels are those of one group.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub groups: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    /// Floats of an input channel and of an output channel.
    pub in_area: usize,
    pub out_area: usize,
}

/// Weights in the order in which tiles read them: for each group and panel, `[in_channel][tap][row]`.
pub(super) struct Packed {
    data: Scratch,
    panels: Vec<Panel>,
    group: usize,
}

/// `rows` output channels from `first` on, with their weights at `start` of the group's.
#[derive(Clone, Copy)]
struct Panel {
    first: usize,
    rows: usize,
    start: usize,
}

/// Packs the weights `get(group, out_channel, in_channel, tap)`, channels counted within the group.
pub(super) fn pack(sizes: &Sizes, taps: usize, get: impl Fn(usize, usize, usize, usize) -> f32 + Sync) -> Packed {
    let depth = sizes.in_channels * taps;
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
            for (c, part) in part.chunks_exact_mut((taps * panel.rows).max(1)).enumerate() {
                for row in 0..panel.rows {
                    for (t, part) in part[row..].iter_mut().step_by(panel.rows).enumerate() {
                        *part = get(g, panel.first + row, c, t);
                    }
                }
            }
        });
    });
    Packed { data, panels, group }
}

/// Runs all passes over every image and group of `x`; `y` holds `batch · groups · out_channels · out_area` floats.
pub(super) fn run(sizes: &Sizes, planes: &Planes, passes: &[Pass], x: &[f32], finish: Finish, y: &mut [f32]) {
    let (from, to) = (sizes.in_channels * sizes.in_area, sizes.out_channels * sizes.out_area);
    let units = sizes.batch * sizes.groups;
    assert_eq!(x.len(), units * from, "input length");
    assert_eq!(y.len(), units * to, "output length");
    // A task is a band of rows of an image's group; where these are few, also a part of the output channels.
    let bands = units * planes.bands();
    let panels = passes.iter().map(|pass| pass.weights.panels.len()).max().unwrap_or(0);
    let threads = rayon::current_num_threads();
    let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(bands).min(panels) };
    let y = Shared(y.as_mut_ptr());
    (0..bands * parts).into_par_iter().for_each(|task| {
        let (unit, band, part) = (task / parts / planes.bands(), task / parts % planes.bands(), task % parts);
        let x = &x[unit * from..][..from];
        let input = (!planes.same()).then(|| {
            let mut input = scratch::take(sizes.in_channels * planes.channel + SLACK);
            planes.fill(band, x, &mut input);
            input
        });
        let input = input.as_deref().unwrap_or_else(|| &x[band * planes.height * planes.pitch..]);
        for pass in passes {
            let panels = &pass.weights.panels;
            let panels = &panels[part * panels.len() / parts..(part + 1) * panels.len() / parts];
            // SAFETY: the unit's outputs lie within `y`, whose length was checked above.
            let output = Shared(unsafe { y.get().add(unit * to) });
            let job = Job::new(sizes, planes, pass, band, panels, input, unit % sizes.groups, finish, output);
            simd::dispatch(Blocks { job: &job });
        }
    });
}

/// The bands that suit a problem: padded planes take half of a small second-level cache, and all threads have some.
pub(super) fn band(sizes: &Sizes) -> Band {
    let threads = rayon::current_num_threads();
    let units = sizes.batch * sizes.groups;
    let at_least = if units >= threads { 1 } else { (2 * threads).div_ceil(units.max(1)) };
    Band { channels: sizes.in_channels, floats: 48 << 10, positions: 64, at_least, ..Band::default() }
}

/// One pass over a band of one image's group, for some of the output channels.
struct Job<'a> {
    input: &'a [f32],
    /// The input is the image itself, without padding; one tap.
    same: bool,
    channel: usize,
    channels: usize,
    offsets: &'a [usize],
    pitch: usize,
    panels: &'a [Panel],
    weights: &'a [f32],
    target: Target,
    finish: Finish<'a>,
    output: Shared,
    out_channels: usize,
    area: usize,
}

impl<'a> Job<'a> {
    fn new(
        sizes: &Sizes,
        planes: &'a Planes,
        pass: &'a Pass,
        band: usize,
        panels: &'a [Panel],
        input: &'a [f32],
        group: usize,
        finish: Finish<'a>,
        output: Shared,
    ) -> Self {
        let biases = |b: &'a [f32]| &b[group * sizes.out_channels..][..sizes.out_channels];
        let same = planes.same();
        let mut target = pass.target;
        let first = (band * planes.height).min(target.hw[0]);
        target.hw[0] = planes.height.min(target.hw[0] - first);
        target.start += first * target.rows;
        let job = Job {
            input,
            same,
            channel: if same { sizes.in_area } else { planes.channel },
            channels: sizes.in_channels,
            offsets: &pass.offsets,
            pitch: planes.pitch,
            panels,
            weights: &pass.weights.data[group * pass.weights.group..][..pass.weights.group],
            target,
            finish: match finish {
                Finish::Set => Finish::Set,
                Finish::Add => Finish::Add,
                Finish::Bias(b) => Finish::Bias(biases(b)),
                Finish::BiasSilu(b) => Finish::BiasSilu(biases(b)),
            },
            output,
            out_channels: sizes.out_channels,
            area: sizes.out_area,
        };
        // What the unsafe code below relies on.
        let reach = job.offsets.iter().max().map_or(0, |o| o + job.positions());
        let slack = if same { 0 } else { SLACK };
        assert!((job.channels - 1) * job.channel + reach + slack <= job.input.len(), "padded planes");
        let Target { hw: [height, width], start, rows, columns } = job.target;
        assert!(height * width == 0 || start + (height - 1) * rows + (width - 1) * columns < job.area, "target");
        assert!(panels.iter().all(|panel| panel.first + panel.rows <= job.out_channels), "panels");
        assert_eq!(job.weights.len(), job.out_channels * job.channels * job.offsets.len(), "weights");
        job
    }

    /// Number of outputs, those to be thrown away included.
    fn positions(&self) -> usize {
        let [rows, columns] = self.target.hw;
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * self.pitch + columns }
    }

    /// How many tiles of `width` side by side, and how many input channels, to work on at once: what such a block reads,
    /// at every tap, should stay in the first-level cache while all output channels use it. Wide blocks if all channels
    /// fit, otherwise enough channels to be worth keeping sums for.
    fn block(&self, width: usize) -> (usize, usize) {
        let mut offsets = self.offsets.to_vec();
        offsets.sort_unstable();
        let most = |tiles: usize| {
            let floats = tiles * width + 16;
            let apart = offsets.windows(2).map(|pair| (pair[1] - pair[0]).min(floats)).sum::<usize>();
            CACHE / (floats + apart)
        };
        for tiles in [TILES, TILES / 2] {
            if most(tiles) >= self.channels {
                return (tiles, self.channels);
            }
        }
        let depth = most(2).max(64 / self.offsets.len()).clamp(1, self.channels);
        (2, self.channels.div_ceil(self.channels.div_ceil(depth)))
    }

    /// Plans where the range's sums go: for each tile of `width`, straight to the output from there on if the whole tile
    /// is consecutive outputs with nothing to be applied; the others' stretches that are outputs are put into `runs`.
    fn plan(&self, range: Range<usize>, width: usize, runs: &mut Vec<Run>) -> [Option<usize>; TILES] {
        let Target { hw: [height, columns_out], start, rows, columns } = self.target;
        let plain = columns == 1 && matches!(self.finish, Finish::Set | Finish::Add);
        let one_row = columns == 1 && rows == columns_out && self.pitch == columns_out;
        let mut direct = [None; TILES];
        runs.clear();
        for (tile, direct) in range.clone().step_by(width).zip(&mut direct) {
            let (mut at, end) = (tile, range.end.min(tile + width));
            while at < end {
                let (row, column, len) = if one_row {
                    (0, at, (end - at).min((height * columns_out).saturating_sub(at)))
                } else {
                    let column = at % self.pitch;
                    (at / self.pitch, column, (end - at).min(columns_out.saturating_sub(column)))
                };
                let to = start + row * rows + column * columns;
                if plain && len == width {
                    *direct = Some(to);
                } else if row < height && len > 0 {
                    let from = at - range.start;
                    match runs.last_mut() {
                        Some(last) if columns == 1 && (last.from + last.len, last.to + last.len) == (from, to) => {
                            last.len += len
                        }
                        _ => runs.push(Run { from, len, to }),
                    }
                }
                at = if one_row { end } else { end.min((row + 1) * self.pitch) };
            }
        }
        direct
    }
}

/// Floats of input that a block may occupy in the first-level cache.
const CACHE: usize = 5120;

/// Consecutive sums that go to outputs in one row.
struct Run {
    from: usize,
    len: usize,
    to: usize,
}

struct PanelRows;

impl WithSimd for PanelRows {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        if S::REGISTER_COUNT >= 32 { 8 } else { 6 }
    }
}

struct Blocks<'a> {
    job: &'a Job<'a>,
}

/// Tiles side by side in a block, at most.
const TILES: usize = 8;

impl WithSimd for Blocks<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (job, lanes, taps) = (self.job, S::F32_LANES, self.job.offsets.len());
        let most = if S::REGISTER_COUNT >= 32 { 3 } else { 2 };
        let (tiles, depth) = job.block(most * lanes);
        let (width, positions) = (tiles * most * lanes, job.positions());
        let base = job.panels.first().map_or(0, |panel| panel.first);
        let rows = job.panels.last().map_or(0, |panel| panel.first + panel.rows) - base;
        let mut sums = scratch::take(rows * width);
        let mut columns = scratch::take(if job.same { depth * width } else { 0 });
        let mut runs = Vec::new();
        for start in (0..positions).step_by(width) {
            let end = positions.min(start + width);
            let direct = job.plan(start..end, most * lanes, &mut runs);
            for first in (0..job.channels).step_by(depth) {
                let channels = depth.min(job.channels - first);
                let input = &job.input[first * job.channel..];
                let (plane, channel) = if job.same {
                    for (to, from) in columns.chunks_exact_mut(width).zip(input.chunks(job.channel)).take(channels) {
                        to[..end - start].iter_mut().zip(&from[start..end]).for_each(|(to, from)| *to = *from);
                    }
                    (columns.as_ptr(), width)
                } else {
                    (input[start..].as_ptr(), job.channel)
                };
                for panel in job.panels {
                    let weights = job.weights[panel.start + first * taps * panel.rows..].as_ptr();
                    for (at, direct) in (0..end - start).step_by(most * lanes).zip(&direct) {
                        let vectors = (end - start - at).div_ceil(lanes).min(most);
                        // SAFETY: `Job::new` checked that every tap of every channel is readable for all positions and
                        // SLACK more (`columns` is as wide as a block), that the weights are complete, and that the
                        // target lies in the output; a direct tile's outputs are this range's, which no other thread
                        // has; `sums` has a row of a block's width for each output channel.
                        unsafe {
                            let plane = plane.add(at);
                            let (sums, row, add) = match direct {
                                Some(to) => (
                                    job.output.get().add(panel.first * job.area + to),
                                    job.area,
                                    first > 0 || matches!(job.finish, Finish::Add),
                                ),
                                None => (sums.as_mut_ptr().add((panel.first - base) * width + at), width, first > 0),
                            };
                            let part = Part { plane, channel, channels, offsets: job.offsets, weights, sums, row, add };
                            macro_rules! tiles {
                                ($($r:literal x $v:literal)*) => { match (panel.rows, vectors) {
                                    $(($r, $v) => tile::<S, $r, $v>(s, part),)*
                                    _ => unreachable!("no tile for {} rows", panel.rows),
                                } };
                            }
                            if S::REGISTER_COUNT >= 32 {
                                tiles!(1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
                                       1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2
                                       1 x 3 2 x 3 3 x 3 4 x 3 5 x 3 6 x 3 7 x 3 8 x 3);
                            } else {
                                tiles!(1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1
                                       1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2);
                            }
                        }
                    }
                }
            }
            for (channel, sums) in (base..).zip(sums.chunks_exact(width)) {
                for run in &runs {
                    let sums = &sums[run.from..][..run.len];
                    // SAFETY: `Job::new` checked that the last output's place is inside a channel; the run's outputs
                    // are this range's, which no other thread has.
                    unsafe { finish(s, job, channel, sums, job.output.get().add(channel * job.area + run.to)) };
                }
            }
        }
    }
}

/// What a tile needs: its inputs, weights, and where its sums go (`row` floats from one channel's to the next's).
struct Part<'a> {
    plane: *const f32,
    channel: usize,
    channels: usize,
    offsets: &'a [usize],
    weights: *const f32,
    sums: *mut f32,
    row: usize,
    add: bool,
}

/// Computes `R` channels by `V` vectors.
///
/// # Safety
/// The input is readable at every channel's every tap for `V` vectors, the weights are `R` for each of those; the sums
/// are `R` rows of `V` vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(s: S, part: Part) {
    let lanes = S::F32_LANES;
    let mut sums = [[s.splat_f32s(0.0); V]; R];
    let (mut plane, mut w) = (part.plane, part.weights);
    // SAFETY: the caller's promise.
    unsafe {
        for _ in 0..part.channels {
            for &offset in part.offsets {
                let x = plane.add(offset);
                let mut inputs = [s.splat_f32s(0.0); V];
                for v in 0..V {
                    inputs[v] = simd::load(s, x.add(v * lanes));
                }
                for r in 0..R {
                    let weight = s.splat_f32s(*w.add(r));
                    for v in 0..V {
                        sums[r][v] = s.mul_add_e_f32s(weight, inputs[v], sums[r][v]);
                    }
                }
                w = w.add(R);
            }
            plane = plane.wrapping_add(part.channel);
        }
        for r in 0..R {
            for v in 0..V {
                let to = part.sums.add(r * part.row + v * lanes);
                let sum = if part.add { s.add_f32s(sums[r][v], simd::load(s, to)) } else { sums[r][v] };
                simd::store(s, to, sum);
            }
        }
    }
}

/// Applies the finish to sums that lie in one row, and stores them.
///
/// # Safety
/// As many outputs as there are sums, the target's `columns` apart from `to` on, are ours to write.
#[inline(always)]
unsafe fn finish<S: Simd>(s: S, job: &Job, channel: usize, sums: &[f32], to: *mut f32) {
    let lanes = S::F32_LANES;
    let add = matches!(job.finish, Finish::Add);
    // SAFETY: the caller's promise.
    unsafe {
        if job.target.columns != 1 || (sums.len() < lanes && !matches!(job.finish, Finish::BiasSilu(_))) {
            let bias = match job.finish {
                Finish::Bias(b) | Finish::BiasSilu(b) => b[channel],
                Finish::Set | Finish::Add => 0.0,
            };
            for (i, sum) in sums.iter().enumerate() {
                let to = to.add(i * job.target.columns);
                *to = if add { *to + sum } else { sum + bias };
            }
            return;
        }
        let (bias, silu) = match job.finish {
            Finish::Set | Finish::Add => (s.splat_f32s(0.0), false),
            Finish::Bias(b) => (s.splat_f32s(b[channel]), false),
            Finish::BiasSilu(b) => (s.splat_f32s(b[channel]), true),
        };
        let (body, rest) = S::as_simd_f32s(sums);
        for (i, sum) in body.iter().enumerate() {
            let to = to.add(i * lanes);
            let sum = biased(s, *sum, bias, silu);
            simd::store(s, to, if add { s.add_f32s(sum, simd::load(s, to)) } else { sum });
        }
        let to = to.add(body.len() * lanes);
        if !rest.is_empty() {
            let mut last = [0.0; 16];
            simd::store(s, last.as_mut_ptr(), biased(s, s.partial_load_f32s(rest), bias, silu));
            for (i, last) in last.iter().enumerate().take(rest.len()) {
                *to.add(i) = if add { *to.add(i) + last } else { *last };
            }
        }
    }
}

/// Adds the bias, and applies SiLU if wanted.
#[inline(always)]
fn biased<S: Simd>(s: S, sum: S::f32s, bias: S::f32s, silu: bool) -> S::f32s {
    let sum = s.add_f32s(sum, bias);
    if silu { simd::silu(s, sum) } else { sum }
}
