//! The micro-kernel behind forward convolution and its data gradient: many output channels' correlations of one set of
//! padded planes, straight from the planes (no im2col).
//!
//! A tile is `R` output channels by `V` vectors of consecutive outputs, all in registers. For each input channel and tap
//! it loads `V` vectors, broadcasts `R` weights and does `R · V` fused multiply-adds. Weights are packed beforehand in
//! panels of `R` rows, in the order in which the tile reads them.

use super::planes::{Planes, SLACK};
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

/// Packs the weights `get(out_channel, in_channel, tap)`, where `out_channel` counts through the groups.
pub(super) fn pack(sizes: &Sizes, taps: usize, get: impl Fn(usize, usize, usize) -> f32) -> Packed {
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
    for g in 0..sizes.groups {
        for panel in &panels {
            let base = g * sizes.out_channels + panel.first;
            let mut to = data[g * group + panel.start..].iter_mut();
            for c in 0..sizes.in_channels {
                for t in 0..taps {
                    for (row, to) in (0..panel.rows).zip(&mut to) {
                        *to = get(base + row, c, t);
                    }
                }
            }
        }
    }
    Packed { data, panels, group }
}

/// Runs all passes over every image and group of `x`; `y` holds `batch · groups · out_channels · out_area` floats.
pub(super) fn run(sizes: &Sizes, planes: &Planes, passes: &[Pass], x: &[f32], finish: Finish, y: &mut [f32]) {
    let (from, to) = (sizes.in_channels * sizes.in_area, sizes.out_channels * sizes.out_area);
    let units = sizes.batch * sizes.groups;
    assert_eq!(x.len(), units * from, "input length");
    assert_eq!(y.len(), units * to, "output length");
    let padded = sizes.in_channels * planes.channel;
    let threads = rayon::current_num_threads();
    // Whole units (an image's group) go to one thread each, which then finds its planes in its own cache; those
    // that are left over are worked on by all threads together.
    let whole = units - units % threads;
    let (y_whole, y_rest) = y.split_at_mut(whole * to);
    y_whole.par_chunks_mut(to).enumerate().for_each(|(unit, y)| {
        let mut input = scratch::take(padded + SLACK);
        let channels = x[unit * from..][..from].chunks_exact(sizes.in_area);
        for (channel, padded) in channels.zip(input.chunks_mut(planes.channel)) {
            planes.fill(channel, padded);
        }
        for pass in passes {
            let job = Job::new(sizes, planes, pass, &input, unit % sizes.groups, finish, y);
            job.run(0..job.positions());
        }
    });
    for (unit, y) in (whole..units).zip(y_rest.chunks_mut(to)) {
        let mut input = scratch::take(padded + SLACK);
        let channels = x[unit * from..][..from].par_chunks_exact(sizes.in_area);
        channels.zip(input.par_chunks_mut(planes.channel)).for_each(|(from, to)| planes.fill(from, to));
        for pass in passes {
            let job = Job::new(sizes, planes, pass, &input, unit % sizes.groups, finish, y);
            let chunk = job.positions().div_ceil(4 * threads).next_multiple_of(CHUNK);
            let chunks = job.positions().div_ceil(chunk);
            (0..chunks).into_par_iter().for_each(|i| job.run(i * chunk..job.positions().min((i + 1) * chunk)));
        }
    }
}

/// Ranges of positions given to different threads start at multiples of this: three vectors of any instruction set.
const CHUNK: usize = 48;

/// One pass over one image's group.
struct Job<'a> {
    input: &'a [f32],
    channel: usize,
    channels: usize,
    offsets: &'a [usize],
    pitch: usize,
    panels: &'a [Panel],
    weights: &'a [f32],
    target: Target,
    finish: Finish<'a>,
    output: Shared,
    area: usize,
}

impl<'a> Job<'a> {
    fn new(
        sizes: &Sizes,
        planes: &'a Planes,
        pass: &'a Pass,
        input: &'a [f32],
        group: usize,
        finish: Finish<'a>,
        y: &mut [f32],
    ) -> Self {
        let biases = |b: &'a [f32]| &b[group * sizes.out_channels..][..sizes.out_channels];
        let target = pass.target;
        let job = Job {
            input,
            channel: planes.channel,
            channels: sizes.in_channels,
            offsets: &pass.offsets,
            pitch: planes.pitch,
            panels: &pass.weights.panels,
            weights: &pass.weights.data[group * pass.weights.group..][..pass.weights.group],
            target,
            finish: match finish {
                Finish::Set => Finish::Set,
                Finish::Add => Finish::Add,
                Finish::Bias(b) => Finish::Bias(biases(b)),
                Finish::BiasSilu(b) => Finish::BiasSilu(biases(b)),
            },
            output: Shared(y.as_mut_ptr()),
            area: sizes.out_area,
        };
        // What the unsafe code below relies on.
        let reach = job.offsets.iter().max().map_or(0, |o| o + job.positions() + SLACK);
        assert!((job.channels - 1) * job.channel + reach <= job.input.len() + planes.channel, "padded planes");
        let [rows, columns] = target.hw;
        assert!(
            rows == 0
                || columns == 0
                || target.start + (rows - 1) * target.rows + (columns - 1) * target.columns < job.area
        );
        assert_eq!(y.len(), sizes.out_channels * job.area, "output length");
        job
    }

    /// Number of outputs, those to be thrown away included.
    fn positions(&self) -> usize {
        let [rows, columns] = self.target.hw;
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * self.pitch + columns }
    }

    /// Computes a range of outputs that starts at a multiple of [`CHUNK`] and ends at one or at the end.
    fn run(&self, range: Range<usize>) {
        simd::dispatch(Blocks { job: self, range });
    }
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
    range: Range<usize>,
}

/// Where one vector of outputs goes.
#[derive(Clone, Copy)]
struct Place {
    /// The whole vector goes here, if it lies within a row.
    whole: Option<usize>,
    /// Otherwise these lanes go to these places.
    count: usize,
    lanes: [(u8, usize); 16],
}

impl Place {
    fn new(job: &Job, position: usize, lanes: usize) -> Self {
        let Target { hw: [height, width], start, rows, columns } = job.target;
        let (mut row, mut column) = (position / job.pitch, position % job.pitch);
        let at = start + row * rows + column * columns;
        let one_run = columns == 1 && rows == width && job.pitch == width;
        let mut place = Place { whole: None, count: 0, lanes: [(0, 0); 16] };
        if (columns == 1 && row < height && column + lanes <= width) || (one_run && position + lanes <= height * width)
        {
            place.whole = Some(at);
            return place;
        }
        for lane in 0..lanes {
            if row < height && column < width {
                place.lanes[place.count] = (lane as u8, start + row * rows + column * columns);
                place.count += 1;
            }
            column += 1;
            if column == job.pitch {
                (row, column) = (row + 1, 0);
            }
        }
        place
    }
}

impl WithSimd for Blocks<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let job = self.job;
        let lanes = S::F32_LANES;
        let mut at = self.range.start;
        while at < self.range.end {
            let most = if S::REGISTER_COUNT >= 32 { 3 } else { 2 };
            let vectors = (self.range.end - at).div_ceil(lanes).min(most);
            let places = [0, 1, 2].map(|v| Place::new(job, at + v * lanes, lanes));
            for panel in job.panels {
                let mut sums = Sums([0.0; 8 * 3 * 16]);
                // SAFETY: `Job::new` checked that every channel's every tap is readable for all positions and SLACK
                // more, that the places are inside an output channel, and the panel's rows are channels of the output.
                unsafe {
                    let plane = job.input.as_ptr().add(at);
                    let to = sums.0.as_mut_ptr();
                    macro_rules! tiles {
                        ($($r:literal x $v:literal)*) => { match (panel.rows, vectors) {
                            $(($r, $v) => tile::<S, $r, $v>(s, job, panel, plane, to),)*
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
                    finish(s, job, panel, &places[..vectors], &sums);
                }
            }
            at += vectors * lanes;
        }
    }
}

/// A tile's sums on their way to the output: for each of its channels, its vectors one after another.
#[repr(align(64))]
struct Sums([f32; 8 * 3 * 16]);

/// Computes `R` channels by `V` vectors, stored at `to`.
///
/// # Safety
/// The input is readable at every channel's every tap, counted from `plane`, for `V` vectors; `to` holds `R · V` vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    s: S,
    job: &Job,
    panel: &Panel,
    mut plane: *const f32,
    to: *mut f32,
) {
    let lanes = S::F32_LANES;
    let mut sums = [[s.splat_f32s(0.0); V]; R];
    let mut w = job.weights[panel.start..].as_ptr();
    // SAFETY: in bounds by the caller's promise; `w` walks over the panel's `channels · taps · R` weights.
    unsafe {
        for _ in 0..job.channels {
            for &offset in job.offsets {
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
            plane = plane.wrapping_add(job.channel);
        }
        for r in 0..R {
            for v in 0..V {
                simd::store(s, to.add((r * V + v) * lanes), sums[r][v]);
            }
        }
    }
}

/// Applies the finish to a tile's sums and stores them.
///
/// # Safety
/// The places lie inside an output channel, and the panel's channels inside the output; no other thread writes there.
#[inline(always)]
unsafe fn finish<S: Simd>(s: S, job: &Job, panel: &Panel, places: &[Place], sums: &Sums) {
    let mut from = sums.0.as_ptr();
    for channel in panel.first..panel.first + panel.rows {
        // SAFETY: the caller's promise; `from` walks over the tile's vectors.
        unsafe {
            let to = job.output.get().add(channel * job.area);
            for place in places {
                let sum = simd::load(s, from);
                let (sum, add) = match job.finish {
                    Finish::Set => (sum, false),
                    Finish::Add => (sum, true),
                    Finish::Bias(b) => (s.add_f32s(sum, s.splat_f32s(b[channel])), false),
                    Finish::BiasSilu(b) => (simd::silu(s, s.add_f32s(sum, s.splat_f32s(b[channel]))), false),
                };
                put(s, sum, to, place, add);
                from = from.add(S::F32_LANES);
            }
        }
    }
}

/// Stores one vector, or adds it to what is there.
///
/// # Safety
/// The place's elements, counted from `to`, are ours to write.
#[inline(always)]
unsafe fn put<S: Simd>(s: S, sum: S::f32s, to: *mut f32, place: &Place, add: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(at) = place.whole {
            let to = to.add(at);
            let sum = if add { s.add_f32s(sum, simd::load(s, to)) } else { sum };
            simd::store(s, to, sum);
        } else {
            let mut values = [0f32; 16];
            simd::store(s, values.as_mut_ptr(), sum);
            for &(lane, at) in &place.lanes[..place.count] {
                let to = to.add(at);
                let value = values[lane as usize & 15];
                *to = if add { *to + value } else { value };
            }
        }
    }
}
