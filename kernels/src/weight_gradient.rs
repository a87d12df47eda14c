//! The weight gradient's micro-kernel: sums of products of padded inputs and output gradients over all positions.
//!
//! Vector lanes run along output channels: the output gradient is transposed once to `[position][channel]` in tiles of
//! one or two vectors, and each step broadcasts six inputs (of six different channel and tap pairs). So there are no
//! sums across lanes, and positions may be few. Discarded positions (see [`super::planes`]) have gradient zero.
//!
//! In bf16 a step is two positions: words hold two neighbours' inputs, and two neighbours' gradients of a channel.

use super::channels::Channels;
use super::dtype::{self, ComputeDtype, Multiply, WithProducts};
use super::planes::{Band, Planes, SLACK};
use super::scratch::{self, Scratch};
use super::simd;
use super::sizes::Sizes;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Input and tap pairs of one tile.
pub(super) const ROWS: usize = 6;

/// Overwrites `dw`, `[groups · out_channels][in_channels][taps]`.
pub(super) fn run(sizes: &Sizes, planes: &Planes, x: &Channels, dy: &[f32], dw: &mut [f32]) {
    let Sizes { dtype, batch, groups, in_channels, out_channels, in_area, out_hw } = *sizes;
    let area = out_hw[0] * out_hw[1];
    let depth = in_channels * planes.offsets.len();
    assert_eq!(dy.len(), batch * groups * out_channels * area, "output gradient length");
    assert_eq!(dw.len(), groups * out_channels * depth, "weight gradient length");
    let split = Split::new(batch, out_channels);
    let positions = (planes.height - 1) * planes.pitch + out_hw[1];
    for (group, dw) in dw.chunks_mut(out_channels * depth).enumerate() {
        let partial: Vec<Scratch> = (0..split.tasks())
            .into_par_iter()
            .map(|task| {
                let (channels, images) = split.task(task);
                let tiles = Tiles::new(channels.len());
                let mut sums = scratch::take_zeroed(tiles.width * depth.next_multiple_of(ROWS));
                let mut input = scratch::take(in_channels * planes.channel + SLACK);
                // In bf16 the last position's neighbour is read, and multiplied by zero.
                input[in_channels * planes.channel..].fill(0.0);
                let mut gradient = scratch::take(tiles.width * positions);
                let of_words = |numbers: usize| scratch::take(if dtype == ComputeDtype::Fp32 { 0 } else { numbers });
                let mut input_words = of_words(input.len().div_ceil(2));
                let mut gradient_words = of_words(tiles.width * positions.div_ceil(2));
                for image in images {
                    let unit = image * groups + group;
                    let dy = &dy[(unit * out_channels + channels.start) * area..][..channels.len() * area];
                    let inputs = sizes.inputs(x, image, group);
                    for band in 0..planes.bands() {
                        let rows = planes.rows_of(band);
                        let positions = (rows.len() - 1) * planes.pitch + out_hw[1];
                        let (mut input, channel) = match x.as_one() {
                            Some(x) if planes.same() && dtype == ComputeDtype::Fp32 => {
                                (&x[unit * in_channels * in_area..][rows.start * planes.pitch..], in_area)
                            }
                            _ => {
                                planes.fill(band, &inputs, &mut input);
                                (&*input, planes.channel)
                            }
                        };
                        tiles.transpose(dy, out_hw, rows, planes.pitch, positions, &mut gradient);
                        let mut gradient = &*gradient;
                        if dtype == ComputeDtype::Bf16 {
                            dtype::round(input, &mut input_words);
                            tiles.pair_positions(gradient, positions, &mut gradient_words);
                            (input, gradient) = (&input_words, &gradient_words);
                        }
                        let image = Image {
                            planes,
                            in_channels,
                            tiles: &tiles,
                            positions,
                            input,
                            channel,
                            gradient,
                            sums: &mut sums,
                        };
                        dtype::dispatch(dtype, image);
                    }
                }
                sums
            })
            .collect();
        dw.par_chunks_mut(depth).enumerate().for_each(|(channel, dw)| {
            let (own, tiles, channel) = split.of_channel(channel);
            let (start, width) = tiles.place(channel, depth);
            dw.fill(0.0);
            for sums in &partial[own] {
                let sums = sums[start..].iter().step_by(width);
                dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
            }
        });
    }
}

/// The bands that suit a problem.
pub(super) fn band(sizes: &Sizes) -> Band {
    let (channels, more_channels) = (sizes.in_channels, sizes.out_channels);
    Band { channels, more_channels, floats: 64 << 10, positions: BLOCK, at_least: 1, ..Band::default() }
}

/// Sums over images that are made apart and then added. Their number is the same however many threads there are, and so is
/// what comes out, to the last bit.
const SUMS: usize = 4;

/// Who sums what: some of the images, for all output channels or, where there are more threads than sums, for some tiles.
pub(super) struct Split {
    images: usize,
    sums: usize,
    channels: usize,
    /// Output channels of a part, whole tiles.
    part: usize,
}

impl Split {
    pub(super) fn new(images: usize, channels: usize) -> Self {
        let sums = SUMS.min(images).max(1);
        let tile = 2 * simd::dispatch(Lanes);
        let tiles = channels.div_ceil(tile).max(1);
        let parts = rayon::current_num_threads().div_ceil(sums).min(tiles);
        Self { images, sums, channels, part: tiles.div_ceil(parts) * tile }
    }

    pub(super) fn tasks(&self) -> usize {
        self.channels.div_ceil(self.part) * self.sums
    }

    /// Output channels and images of a task.
    pub(super) fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (first, sum) = (task / self.sums * self.part, task % self.sums);
        let image = |sum| sum * self.images / self.sums;
        (first..self.channels.min(first + self.part), image(sum)..image(sum + 1))
    }

    /// The tasks that sum an output channel, their tiles, and which channel of these it is.
    pub(super) fn of_channel(&self, channel: usize) -> (Range<usize>, Tiles, usize) {
        let part = channel / self.part;
        let first = part * self.part;
        (part * self.sums..(part + 1) * self.sums, Tiles::new(self.part.min(self.channels - first)), channel - first)
    }
}

/// How output channels are cut into vectors: tiles of two vectors, the last one perhaps of one.
pub(super) struct Tiles {
    pub lanes: usize,
    channels: usize,
    /// Channels including those that fill up the last vector.
    pub width: usize,
}

impl Tiles {
    pub(super) fn new(channels: usize) -> Self {
        let lanes = simd::dispatch(Lanes);
        Tiles { lanes, channels, width: channels.next_multiple_of(lanes) }
    }

    /// First channel and width of each tile.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let (step, end) = (2 * self.lanes, self.width);
        (0..end).step_by(step).map(move |first| (first, step.min(end - first)))
    }

    /// Where an output channel's first sum is kept, and how far apart its sums are: they lie as
    /// `[tile][input and tap pair][channel of the tile]`.
    pub(super) fn place(&self, channel: usize, depth: usize) -> (usize, usize) {
        let first = channel / (2 * self.lanes) * 2 * self.lanes;
        let width = (2 * self.lanes).min(self.width - first);
        (first * depth.next_multiple_of(ROWS) + channel - first, width)
    }

    /// Makes words of two positions each: `[tile][pair of positions][channel of the tile]`.
    fn pair_positions(&self, from: &[f32], positions: usize, to: &mut [f32]) {
        let pairs = positions.div_ceil(2);
        for (first, width) in self.iter() {
            let from = &from[first * positions..][..width * positions];
            dtype::pair_rows(from, width, &mut to[first * pairs..][..width * pairs]);
        }
    }

    /// Writes a band of an image's gradient as `[tile][position][channel of the tile]`, zero where there is none.
    pub(super) fn transpose(
        &self,
        dy: &[f32],
        hw: [usize; 2],
        rows: Range<usize>,
        pitch: usize,
        positions: usize,
        to: &mut [f32],
    ) {
        let area = hw[0] * hw[1];
        for (first, width) in self.iter() {
            let tile = &mut to[first * positions..][..width * positions];
            let channels = width.min(self.channels - first);
            for (y, row) in rows.clone().zip(tile.chunks_mut(pitch * width)) {
                let (body, junk) = row.split_at_mut(hw[1] * width);
                junk.fill(0.0);
                if channels < width {
                    body.fill(0.0);
                }
                for c in (0..channels).step_by(4) {
                    let source = |i: usize| &dy[(first + c + i) * area + y * hw[1]..][..hw[1]];
                    if channels - c >= 4 && width >= 4 {
                        let sources = [source(0), source(1), source(2), source(3)];
                        simd::dispatch(Four { sources, to: body, width, c });
                    } else {
                        for i in 0..channels - c {
                            body.chunks_exact_mut(width).zip(source(i)).for_each(|(to, from)| to[c + i] = *from);
                        }
                    }
                }
            }
        }
    }
}

/// Writes four channels' gradients next to each other at every position, from the `c`-th place of `width` on.
struct Four<'a> {
    sources: [&'a [f32]; 4],
    to: &'a mut [f32],
    width: usize,
    c: usize,
}

impl WithSimd for Four<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Four { sources: [a, b, c, d], to, width, c: at } = self;
        let blocks =
            a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0).zip(c.as_chunks::<4>().0).zip(d.as_chunks::<4>().0);
        let (body, rest) = to.split_at_mut(a.len() / 4 * 4 * width);
        for (to, (((a, b), c), d)) in body.chunks_exact_mut(4 * width).zip(blocks) {
            for i in 0..4 {
                to[i * width + at..][..4].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
            }
        }
        let done = a.len() / 4 * 4;
        for (to, i) in rest.chunks_exact_mut(width).zip(done..) {
            to[at..][..4].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
        }
    }
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Adds the products of a band of one image to the sums.
struct Image<'a> {
    planes: &'a Planes,
    in_channels: usize,
    tiles: &'a Tiles,
    positions: usize,
    input: &'a [f32],
    channel: usize,
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

/// Words of positions worked on at once, so that their transposed gradients stay in the first-level cache.
const BLOCK: usize = 256;

impl WithProducts for Image<'_> {
    type Output = ();
    #[inline(always)]
    fn with_products<S: Simd, M: Multiply<S>>(self, s: S, multiply: M) {
        let Image { planes, in_channels, tiles, positions, input, channel, gradient, sums } = self;
        let taps = planes.offsets.len();
        let depth = in_channels * taps;
        let starts: Vec<usize> =
            (0..in_channels).flat_map(|c| planes.offsets.iter().map(move |o| c * channel + o)).collect();
        let steps = positions.div_ceil(M::NUMBERS);
        // What the unsafe code relies on.
        assert!(starts.iter().all(|start| start + steps * M::NUMBERS <= input.len() * M::NUMBERS));
        assert!(gradient.len() >= tiles.width * steps && sums.len() >= tiles.width * depth.next_multiple_of(ROWS));
        assert!(tiles.lanes == S::F32_LANES);
        let input = input.as_ptr().cast::<u8>();
        for at in (0..steps).step_by(BLOCK) {
            let count = BLOCK.min(steps - at);
            for (first, width) in tiles.iter() {
                let gradient = gradient[first * steps + at * width..][..count * width].as_ptr();
                let mut sums = sums[first * depth.next_multiple_of(ROWS)..].as_mut_ptr();
                for starts in starts.chunks(ROWS) {
                    // A short last tile repeats its last input; those sums are never read.
                    // SAFETY: checked above: `count` words are readable from every input and in the gradient, and
                    // `ROWS · width` sums are ours.
                    unsafe {
                        let inputs: [*const f32; ROWS] = std::array::from_fn(|r| {
                            let number = starts[r.min(starts.len() - 1)] + at * M::NUMBERS;
                            input.add(number * (size_of::<f32>() / M::NUMBERS)).cast()
                        });
                        if width == 2 * S::F32_LANES {
                            tile::<S, M, 2>(s, multiply, inputs, gradient, count, sums);
                        } else {
                            tile::<S, M, 1>(s, multiply, inputs, gradient, count, sums);
                        }
                        sums = sums.add(ROWS * width);
                    }
                }
            }
        }
    }
}

/// `sums[r][..] += Σ_j inputs[r][j] · gradient[j][..]`
///
/// # Safety
/// `count` words are readable at each input (of any alignment), `count · V` vectors at `gradient`; `ROWS · V` vectors at
/// `sums` are ours.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, M: Multiply<S>, const V: usize>(
    s: S,
    multiply: M,
    inputs: [*const f32; ROWS],
    gradient: *const f32,
    count: usize,
    sums: *mut f32,
) {
    let lanes = S::F32_LANES;
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[s.splat_f32s(0.0); V]; ROWS];
        for j in 0..count {
            let mut d = [s.splat_f32s(0.0); V];
            for v in 0..V {
                d[v] = simd::load(s, gradient.add((j * V + v) * lanes));
            }
            for r in 0..ROWS {
                let x = s.splat_f32s(inputs[r].add(j).read_unaligned());
                for v in 0..V {
                    acc[r][v] = multiply.multiply_add(s, x, d[v], acc[r][v]);
                }
            }
        }
        for r in 0..ROWS {
            for v in 0..V {
                let to = sums.add((r * V + v) * lanes);
                simd::store(s, to, s.add_f32s(acc[r][v], simd::load(s, to)));
            }
        }
    }
}
