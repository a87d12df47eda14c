//! The weight gradient's micro-kernel: sums of products of padded inputs and output gradients over all positions.
//!
//! Vector lanes run along output channels: the output gradient is transposed once to `[position][channel]` in tiles of
//! one or two vectors, and each step broadcasts six inputs (of six different channel and tap pairs). So there are no
//! sums across lanes, and positions may be few. Discarded positions (see [`super::planes`]) have gradient zero.

use super::planes::{Planes, SLACK};
use super::scratch::{self, Scratch};
use super::simd;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Input and tap pairs of one tile.
const ROWS: usize = 6;

/// Sizes of the problem; channels are those of one group.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub groups: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub in_area: usize,
    pub out_hw: [usize; 2],
}

/// Overwrites `dw`, `[groups · out_channels][in_channels][taps]`.
pub(super) fn run(sizes: &Sizes, planes: &Planes, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let Sizes { batch, groups, in_channels, out_channels, in_area, out_hw } = *sizes;
    let (from, area) = (in_channels * in_area, out_hw[0] * out_hw[1]);
    let depth = in_channels * planes.offsets.len();
    assert_eq!(x.len(), batch * groups * from, "input length");
    assert_eq!(dy.len(), batch * groups * out_channels * area, "output gradient length");
    assert_eq!(dw.len(), groups * out_channels * depth, "weight gradient length");
    let chunks = rayon::current_num_threads().min(batch).max(1);
    let tiles = Tiles::new(out_channels);
    let positions = (out_hw[0] - 1) * planes.pitch + out_hw[1];
    for (group, dw) in dw.chunks_mut(out_channels * depth).enumerate() {
        let partial: Vec<Scratch> = (0..chunks)
            .into_par_iter()
            .map(|chunk| {
                let mut sums = scratch::take_zeroed(tiles.width * depth.next_multiple_of(ROWS));
                let mut input = scratch::take(in_channels * planes.channel + SLACK);
                let mut gradient = scratch::take(tiles.width * positions);
                for image in chunk * batch / chunks..(chunk + 1) * batch / chunks {
                    let unit = image * groups + group;
                    let channels = x[unit * from..][..from].chunks_exact(in_area);
                    for (channel, padded) in channels.zip(input.chunks_mut(planes.channel)) {
                        planes.fill(channel, padded);
                    }
                    tiles.transpose(
                        &dy[unit * out_channels * area..][..out_channels * area],
                        out_hw,
                        planes.pitch,
                        positions,
                        &mut gradient,
                    );
                    simd::dispatch(Image {
                        planes,
                        in_channels,
                        tiles: &tiles,
                        positions,
                        input: &input,
                        gradient: &gradient,
                        sums: &mut sums,
                    });
                }
                sums
            })
            .collect();
        dw.par_chunks_mut(depth).enumerate().for_each(|(channel, dw)| {
            for (k, dw) in dw.iter_mut().enumerate() {
                *dw = partial.iter().map(|sums| sums[tiles.index(channel, k, depth)]).sum();
            }
        });
    }
}

/// How output channels are cut into vectors: tiles of two vectors, the last one perhaps of one.
struct Tiles {
    lanes: usize,
    channels: usize,
    /// Channels including those that fill up the last vector.
    width: usize,
}

impl Tiles {
    fn new(channels: usize) -> Self {
        let lanes = simd::dispatch(Lanes);
        Tiles { lanes, channels, width: channels.next_multiple_of(lanes) }
    }

    /// First channel and width of each tile.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let (step, end) = (2 * self.lanes, self.width);
        (0..end).step_by(step).map(move |first| (first, step.min(end - first)))
    }

    /// Where the sum for an output channel and an input and tap pair is kept: `[tile][pair][channel of the tile]`.
    fn index(&self, channel: usize, k: usize, depth: usize) -> usize {
        let first = channel / (2 * self.lanes) * 2 * self.lanes;
        let width = (2 * self.lanes).min(self.width - first);
        first * depth.next_multiple_of(ROWS) + k * width + channel - first
    }

    /// Writes an image's gradient as `[tile][position][channel of the tile]`, zero where there is none.
    fn transpose(&self, dy: &[f32], hw: [usize; 2], pitch: usize, positions: usize, to: &mut [f32]) {
        let area = hw[0] * hw[1];
        for (first, width) in self.iter() {
            let tile = &mut to[first * positions..][..width * positions];
            let channels = width.min(self.channels - first);
            for (y, row) in tile.chunks_mut(pitch * width).enumerate() {
                let (body, junk) = row.split_at_mut(hw[1] * width);
                junk.fill(0.0);
                if channels < width {
                    body.fill(0.0);
                }
                for c in 0..channels {
                    let source = &dy[(first + c) * area + y * hw[1]..][..hw[1]];
                    for (to, from) in body.chunks_exact_mut(width).zip(source) {
                        to[c] = *from;
                    }
                }
            }
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

/// Adds one image's products to the sums.
struct Image<'a> {
    planes: &'a Planes,
    in_channels: usize,
    tiles: &'a Tiles,
    positions: usize,
    input: &'a [f32],
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

/// Positions worked on at once, so that their transposed gradients stay in the first-level cache.
const BLOCK: usize = 256;

impl WithSimd for Image<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Image { planes, in_channels, tiles, positions, input, gradient, sums } = self;
        let taps = planes.offsets.len();
        let depth = in_channels * taps;
        let starts: Vec<usize> =
            (0..in_channels).flat_map(|c| planes.offsets.iter().map(move |o| c * planes.channel + o)).collect();
        // What the unsafe code relies on.
        assert!(starts.iter().all(|start| start + positions <= input.len()));
        assert!(gradient.len() >= tiles.width * positions && sums.len() >= tiles.width * depth.next_multiple_of(ROWS));
        assert!(tiles.lanes == S::F32_LANES);
        for at in (0..positions).step_by(BLOCK) {
            let count = BLOCK.min(positions - at);
            for (first, width) in tiles.iter() {
                let gradient = gradient[first * positions + at * width..][..count * width].as_ptr();
                let mut sums = sums[first * depth.next_multiple_of(ROWS)..].as_mut_ptr();
                for starts in starts.chunks(ROWS) {
                    // A short last tile repeats its last input; those sums are never read.
                    let inputs: [*const f32; ROWS] =
                        std::array::from_fn(|r| input[starts[r.min(starts.len() - 1)] + at..].as_ptr());
                    // SAFETY: checked above: `count` positions are readable from every input and in the gradient, and
                    // `ROWS · width` sums are ours.
                    unsafe {
                        if width == 2 * S::F32_LANES {
                            tile::<S, 2>(s, inputs, gradient, count, sums);
                        } else {
                            tile::<S, 1>(s, inputs, gradient, count, sums);
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
/// `count` floats are readable at each input, `count · V` vectors at `gradient`; `ROWS · V` vectors at `sums` are ours.
#[inline(always)]
unsafe fn tile<S: Simd, const V: usize>(
    s: S,
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
                let x = s.splat_f32s(*inputs[r].add(j));
                for v in 0..V {
                    acc[r][v] = s.mul_add_e_f32s(x, d[v], acc[r][v]);
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
