//! The engine behind forward convolution and its data gradient: many output channels' correlations of one set of padded
//! planes, straight from the planes (no im2col).
//!
//! The work is cut three times. Bands of rows, whose padded planes stay in the second-level cache, go to threads. Within
//! a band, blocks of positions by input channels stay in the first-level cache while all output channels use them. Within
//! a block, tiles (module `tile`) of output channels by positions stay in registers.

use super::channels::Channels;
use super::dtype::{self, ComputeDtype, Multiply, WithProducts};
use super::interleave::{Interleave, Rows};
use super::logistic;
use super::pack::{Packed, Panel};
use super::planes::{Band, Planes, SLACK};
use super::scratch::{self, Scratch};
use super::simd::{self, Shared};
use super::sizes::Sizes;
use super::tile::{self, MOST_VECTORS, Part};
use pulp::Simd;
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

/// One correlation over the planes: some taps, their weights, and which outputs they make: `hw` of them, those at rows
/// and columns `phase`, `phase + spread`, `phase + 2 · spread`, …
pub(super) struct Pass<'a> {
    pub offsets: Vec<usize>,
    pub weights: &'a Packed,
    pub hw: [usize; 2],
    pub phase: [usize; 2],
}

/// Runs all passes (in the order of their phases), whose outputs are `spread` apart, over every image and group of `x`; `y`
/// holds `batch · groups · out_channels` planes of `out_hw`.
pub(super) fn run(
    sizes: &Sizes,
    spread: [usize; 2],
    planes: &Planes,
    passes: &[Pass],
    x: &Channels,
    finish: Finish,
    y: &mut [f32],
) {
    let [height, width] = sizes.out_hw;
    let to = sizes.out_channels * height * width;
    let units = sizes.batch * sizes.groups;
    assert_eq!(y.len(), units * to, "output length");
    // A task is a band of rows of an image's group; where these are few, also a part of the output channels.
    let bands = units * planes.bands();
    let panels = passes.iter().map(|pass| pass.weights.panels.len()).max().unwrap_or(0);
    let threads = rayon::current_num_threads();
    let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(bands).min(panels) };
    let y = Shared(y.as_mut_ptr());
    (0..bands * parts).into_par_iter().for_each(|task| {
        let (unit, band, part) = (task / parts / planes.bands(), task / parts % planes.bands(), task % parts);
        let x = sizes.inputs(x, unit / sizes.groups, unit % sizes.groups);
        let padded = (!planes.same()).then(|| {
            let mut padded = scratch::take(sizes.words() * planes.channel + SLACK);
            planes.fill(band, &x, &mut padded);
            padded
        });
        let Range { start: first, end } = planes.rows_of(band);
        let input = padded.as_deref().map_or(Input::Channels(&x, first * planes.pitch), Input::Padded);
        // SAFETY: the unit's outputs lie within `y`, whose length was checked above.
        let output = unsafe { y.get().add(unit * to) };
        for row in passes.chunk_by(|a, b| a.phase[0] == b.phase[0]) {
            let panels =
                |pass: &Pass| part * pass.weights.panels.len() / parts..(part + 1) * pass.weights.panels.len() / parts;
            let count = end.min(row[0].hw[0]).saturating_sub(first);
            let task = Task { sizes, planes, group: unit % sizes.groups, input, count };
            if spread == [1, 1] {
                // SAFETY: as above; the band begins at row `first`.
                let output = Shared(unsafe { output.add(first * width) });
                task.job(&row[0], output, height * width, finish).run(panels(&row[0]));
                continue;
            }
            // The outputs of each column phase by themselves, then put in their places all at once.
            let apart: Vec<Scratch> = row
                .iter()
                .map(|pass| {
                    let area = count * pass.hw[1];
                    let mut sums = scratch::take(sizes.out_channels * area);
                    task.job(pass, Shared(sums.as_mut_ptr()), area, Finish::Set).run(panels(pass));
                    sums
                })
                .collect();
            let channels = row[0].weights.channels(panels(&row[0]));
            // SAFETY: within the unit's outputs: the rows and channels of this task, which no other has.
            let rows = unsafe {
                let start = output.add((row[0].phase[0] + first * spread[0]) * width);
                Rows::new(Shared(start), height * width, channels, spread[0] * width, count, width)
            };
            let passes: Vec<_> =
                row.iter().zip(&apart).map(|(pass, sums)| (pass.phase[1], pass.hw[1], &**sums)).collect();
            simd::dispatch(Interleave { passes: &passes, step: spread[1], add: matches!(finish, Finish::Add), rows });
        }
    });
}

/// The bands that suit a problem: padded planes take half of a second-level cache of 512 KB, and all threads have equally many.
pub(super) fn band(sizes: &Sizes) -> Band {
    let threads = rayon::current_num_threads();
    let units = sizes.batch * sizes.groups;
    let [at_least, multiple] = if units >= threads { [1, 0] } else { [(2 * threads).div_ceil(units.max(1)), threads] };
    let Sizes { dtype, in_channels: channels, .. } = *sizes;
    Band { dtype, channels, floats: 64 << 10, positions: 64, at_least, multiple, ..Band::default() }
}

/// A band of one image's group: `count` rows of outputs, and the padded planes they read.
#[derive(Clone, Copy)]
struct Task<'a> {
    sizes: &'a Sizes,
    planes: &'a Planes,
    group: usize,
    input: Input<'a>,
    count: usize,
}

/// What the outputs of a band are computed from.
#[derive(Clone, Copy)]
enum Input<'a> {
    /// Padded planes.
    Padded(&'a [f32]),
    /// The channels themselves, from some position on: there is one tap, and no padding.
    Channels(&'a [&'a [f32]], usize),
}

/// One pass over a task; its channels and weights are words.
struct Job<'a> {
    dtype: ComputeDtype,
    input: Input<'a>,
    /// Words from one padded plane to the next.
    channel: usize,
    channels: usize,
    offsets: &'a [usize],
    /// Floats of a plane; each phase of a strided convolution has its own.
    plane: usize,
    pitch: usize,
    panels: &'a [Panel],
    weights: &'a [f32],
    hw: [usize; 2],
    finish: Finish<'a>,
    output: Shared,
    /// Floats between the outputs of channels.
    area: usize,
}

impl<'a> Task<'a> {
    /// The job whose outputs are `count` whole rows, one after another, from `output` on; channels are `area` apart.
    fn job(self, pass: &'a Pass<'a>, output: Shared, area: usize, finish: Finish<'a>) -> Job<'a> {
        let Task { sizes, planes, group, input, count } = self;
        let weights = pass.weights;
        let biases = |b: &'a [f32]| &b[group * sizes.out_channels..][..sizes.out_channels];
        let job = Job {
            dtype: sizes.dtype,
            input,
            channel: planes.channel,
            channels: sizes.words(),
            offsets: &pass.offsets,
            plane: planes.plane,
            pitch: planes.pitch,
            panels: &weights.panels,
            weights: weights.group(group),
            hw: [count, pass.hw[1]],
            finish: match finish {
                Finish::Set => Finish::Set,
                Finish::Add => Finish::Add,
                Finish::Bias(b) => Finish::Bias(biases(b)),
                Finish::BiasSilu(b) => Finish::BiasSilu(biases(b)),
            },
            output,
            area,
        };
        // What the unsafe code below relies on.
        let reach = job.offsets.iter().max().map_or(0, |o| o + job.positions());
        match input {
            Input::Padded(input) => {
                assert!((job.channels - 1) * job.channel + reach + SLACK <= input.len(), "padded planes");
            }
            Input::Channels(channels, _) => assert!(job.offsets == [0] && channels.len() == job.channels, "channels"),
        }
        assert!(job.hw[0] * job.hw[1] <= area, "outputs");
        assert!(job.panels.iter().all(|panel| panel.first + panel.rows <= sizes.out_channels), "panels");
        assert_eq!(job.weights.len(), sizes.out_channels * job.channels * job.offsets.len(), "weights");
        job
    }
}

impl Job<'_> {
    /// Number of outputs, those to be thrown away included.
    fn positions(&self) -> usize {
        let [rows, columns] = self.hw;
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * self.pitch + columns }
    }

    /// Computes some of the output channels.
    fn run(&self, panels: Range<usize>) {
        dtype::dispatch(self.dtype, Blocks { job: self, panels: &self.panels[panels] });
    }

    /// How many input channels to work on at once, in blocks of `width`: what such a block reads, at every tap, should
    /// stay in the first-level cache while all output channels use it; but there must be enough channels to be worth
    /// keeping sums for. Since sums are added in these steps, it must not depend on how high the bands are.
    fn depth(&self, width: usize) -> usize {
        let mut offsets = self.offsets.to_vec();
        offsets.sort_unstable();
        let floats = width + 16;
        let apart = |pair: &[usize]| match pair[0] / self.plane == pair[1] / self.plane {
            true => (pair[1] - pair[0]).min(floats),
            false => floats,
        };
        let apart = offsets.windows(2).map(apart).sum::<usize>();
        let most = (CACHE / (floats + apart)).max(96 / self.offsets.len()).clamp(1, self.channels);
        // As equal as can be.
        self.channels.div_ceil(self.channels.div_ceil(most))
    }

    /// Plans where the range's sums go: for each tile of `width`, straight to the output from there on if the whole tile
    /// is consecutive outputs with nothing to be applied; the others' stretches that are outputs are put into `runs`. Where sums
    /// `wait` for more channels, none is added straight to what is there: all outputs must be summed in one order, however high the
    /// bands are.
    fn plan(&self, range: Range<usize>, width: usize, wait: bool, runs: &mut Vec<Run>) -> [Option<usize>; TILES] {
        let [rows, columns] = self.hw;
        let plain = match self.finish {
            Finish::Set => true,
            Finish::Add => !wait,
            Finish::Bias(_) | Finish::BiasSilu(_) => false,
        };
        let mut direct = [None; TILES];
        runs.clear();
        for (tile, direct) in range.clone().step_by(width).zip(&mut direct) {
            let (mut at, end) = (tile, range.end.min(tile + width));
            while at < end {
                // Without discarded columns, all the rows are one.
                let (to, len, next) = if self.pitch == columns {
                    (at, (end - at).min((rows * columns).saturating_sub(at)), end)
                } else {
                    let (row, column) = (at / self.pitch, at % self.pitch);
                    let len = if row < rows { (end - at).min(columns.saturating_sub(column)) } else { 0 };
                    (row * columns + column, len, end.min((row + 1) * self.pitch))
                };
                if plain && len == width {
                    *direct = Some(to);
                } else if len > 0 {
                    let from = at - range.start;
                    match runs.last_mut() {
                        Some(run) if (run.from + run.len, run.to + run.len) == (from, to) => run.len += len,
                        _ => runs.push(Run { from, len, to }),
                    }
                }
                at = next;
            }
        }
        direct
    }
}

/// Floats of input that a block may occupy in the first-level cache.
const CACHE: usize = 7168;

/// Positions of a block, in whole tiles. In narrower blocks of more channels the weights, which come from further away
/// than the inputs, would be read more often.
const WIDTH: usize = 128;

/// Tiles side by side in a block, at most.
const TILES: usize = 16;

/// Consecutive sums of a block that are consecutive outputs.
struct Run {
    from: usize,
    len: usize,
    to: usize,
}

struct Blocks<'a> {
    job: &'a Job<'a>,
    panels: &'a [Panel],
}

impl WithProducts for Blocks<'_> {
    type Output = ();
    #[inline(always)]
    fn with_products<S: Simd, M: Multiply<S>>(self, s: S, multiply: M) {
        let Blocks { job, panels } = self;
        let (lanes, taps) = (S::F32_LANES, job.offsets.len());
        let most = MOST_VECTORS[usize::from(S::REGISTER_COUNT >= 32)];
        let step = most * lanes;
        let (width, positions) = ((WIDTH / step).clamp(1, TILES) * step, job.positions());
        let depth = job.depth(width);
        // Sums wait for the channels to come: those of all panels, or else only those of the panel at work.
        let (wait, first_row) = (depth < job.channels, panels.first().map_or(0, |panel| panel.first));
        let rows = panels.iter().map(|panel| panel.rows);
        let rows = if wait { rows.sum() } else { rows.max().unwrap_or(0) };
        let mut sums = scratch::take(rows * width);
        let mut columns = scratch::take(if let Input::Channels(..) = job.input { depth * width } else { 0 });
        let mut runs = Vec::new();
        for start in (0..positions).step_by(width) {
            let end = positions.min(start + width);
            let direct = job.plan(start..end, step, wait, &mut runs);
            for first in (0..job.channels).step_by(depth) {
                let channels = depth.min(job.channels - first);
                let (plane, channel) = match job.input {
                    Input::Padded(input) => (input[first * job.channel + start..].as_ptr(), job.channel),
                    Input::Channels(inputs, from) => {
                        for (to, input) in columns.chunks_exact_mut(width).zip(&inputs[first..][..channels]) {
                            let input = &input[from + start..from + end];
                            to[..end - start].iter_mut().zip(input).for_each(|(to, from)| *to = *from);
                        }
                        (columns.as_ptr(), width)
                    }
                };
                for panel in panels {
                    let weights = job.weights[panel.start + first * taps * panel.rows..].as_ptr();
                    let kept = if wait { panel.first - first_row } else { 0 };
                    let sums = &mut sums[kept * width..][..panel.rows * width];
                    for (at, direct) in (0..end - start).step_by(step).zip(&direct) {
                        let vectors = (end - start - at).div_ceil(lanes).min(most);
                        // SAFETY: `Task::job` checked that every tap of every channel is readable for all positions and
                        // SLACK more (`columns` is as wide as a block), that the weights are complete, and that the
                        // outputs lie within their channel; this job's outputs are no other thread's; `sums` has a row
                        // of a block's width for each of the panel's channels.
                        unsafe {
                            let plane = plane.add(at);
                            let (sums, row, add) = match direct {
                                Some(to) => {
                                    let to = job.output.get().add(panel.first * job.area + to);
                                    (to, job.area, first > 0 || matches!(job.finish, Finish::Add))
                                }
                                None => (sums.as_mut_ptr().add(at), width, first > 0),
                            };
                            let part = Part { plane, channel, channels, offsets: job.offsets, weights, sums, row, add };
                            tile::compute(s, multiply, part, panel.rows, vectors);
                        }
                    }
                    if first + channels < job.channels {
                        continue;
                    }
                    for (channel, sums) in (panel.first..).zip(sums.chunks_exact(width)) {
                        for run in &runs {
                            // SAFETY: as above: the run's outputs lie within the channel, and are no other thread's.
                            let to = unsafe {
                                let to = job.output.get().add(channel * job.area + run.to);
                                std::slice::from_raw_parts_mut(to, run.len)
                            };
                            finish(s, job.finish, channel, &sums[run.from..][..run.len], to);
                        }
                    }
                }
            }
        }
    }
}

/// Applies the finish to sums, and stores them.
#[inline(always)]
fn finish<S: Simd>(s: S, finish: Finish, channel: usize, sums: &[f32], to: &mut [f32]) {
    let ((sums, sums_rest), (to, to_rest)) = (S::as_simd_f32s(sums), S::as_mut_simd_f32s(to));
    match finish {
        Finish::Set => {
            // The stretches are short: an addition is cheaper here than a call to copy memory.
            let zero = s.splat_f32s(0.0);
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = s.add_f32s(*sum, zero));
            to_rest.iter_mut().zip(sums_rest).for_each(|(to, sum)| *to = *sum);
        }
        Finish::Add => {
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = s.add_f32s(*to, *sum));
            to_rest.iter_mut().zip(sums_rest).for_each(|(to, sum)| *to += *sum);
        }
        Finish::Bias(b) => {
            let bias = s.splat_f32s(b[channel]);
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = s.add_f32s(*sum, bias));
            to_rest.iter_mut().zip(sums_rest).for_each(|(to, sum)| *to = sum + b[channel]);
        }
        Finish::BiasSilu(b) => {
            let bias = s.splat_f32s(b[channel]);
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = logistic::silu(s, s.add_f32s(*sum, bias));
            }
            let last = logistic::silu(s, s.add_f32s(s.partial_load_f32s(sums_rest), bias));
            s.partial_store_f32s(to_rest, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_equally_many_bands_of_an_image() {
        let taps: Vec<_> = (0..9).map(|tap| [tap / 3 - 1, tap % 3 - 1]).collect();
        let bands = |threads: usize, side: usize, in_channels: usize| {
            let dtype = ComputeDtype::Fp32;
            let out_hw = [side; 2];
            let sizes =
                Sizes { dtype, batch: 1, groups: 1, in_channels, out_channels: 8, in_area: side * side, out_hw };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Planes::new(out_hw, out_hw, [1, 1], &taps, band(&sizes)).bands())
        };
        for (threads, side, channels) in
            [(2, 20, 128), (2, 40, 64), (2, 40, 100), (2, 80, 32), (4, 80, 32), (3, 60, 64)]
        {
            let bands = bands(threads, side, channels);
            assert!(
                bands >= 2 * threads && bands.is_multiple_of(threads),
                "{bands} bands of {side} for {threads} threads"
            );
        }
    }
}
