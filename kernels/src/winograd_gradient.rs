//! The weight gradient of 3×3 convolutions with step 1 by 16 instead of 36 products for each square of 2×2 outputs:
//! F(3×3, 2×2), with the squares of the output's gradient as kernels (see [`super::winograd`]).
//!
//! With a square's 4×4 inputs d and 2×2 gradients y, its part of the gradient is Aᵀ·[(G·y·Gᵀ) ⊙ (Bᵀ·d·B)]·A. The product
//! ⊙ is summed over all squares, by the tiles of module `weight_gradient`, before the outer transformation.

use super::channels::Channels;
use super::dtype::Singles;
use super::planes::{Band, Planes, SLACK};
use super::scratch::{self, Scratch};
use super::simd;
use super::sizes::Sizes;
use super::squares::Two;
use super::weight_gradient::{ROWS, Split, Tiles, tile};
use super::winograd::{apart, block, planes, transform_inputs};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Elements of a transformed square.
const ELEMENTS: usize = 16;

/// Overwrites `dw`, `[out_channels][in_channels][9]`; `x` has a border of `padding` zeros. There is one group.
pub(super) fn run(sizes: &Sizes, in_hw: [usize; 2], padding: [usize; 2], x: &Channels, dy: &[f32], dw: &mut [f32]) {
    let Sizes { batch, in_channels, out_channels, out_hw, .. } = *sizes;
    let to = out_channels * out_hw[0] * out_hw[1];
    assert_eq!(dy.len(), batch * to, "output gradient length");
    assert_eq!(dw.len(), out_channels * in_channels * 9, "weight gradient length");
    // The gradient takes as much room as the inputs: four numbers a square and channel.
    let band = Band {
        channels: in_channels,
        more_channels: 4 * out_channels,
        floats: 96 << 10,
        positions: 32,
        at_least: 1,
        ..Band::default()
    };
    let planes = planes::<2, 4>(in_hw, out_hw, padding, band);
    let split = Split::new(batch, out_channels);
    let element = |tiles: &Tiles| tiles.width * in_channels.next_multiple_of(ROWS);
    let partial: Vec<Scratch> = (0..split.tasks())
        .into_par_iter()
        .map(|task| {
            let (channels, images) = split.task(task);
            let tiles = Tiles::new(channels.len());
            let element = element(&tiles);
            let mut sums = scratch::take_zeroed(ELEMENTS * element);
            let mut input = scratch::take(in_channels * planes.channel + SLACK);
            let pitch = 2 * planes.pitch;
            let mut gradient = scratch::take(tiles.width * 2 * planes.height * pitch);
            for image in images {
                let inputs = sizes.inputs(x, image, 0);
                let area = out_hw[0] * out_hw[1];
                let dy = &dy[image * to + channels.start * area..][..channels.len() * area];
                for band in 0..planes.bands() {
                    let rows = planes.rows_of(band);
                    planes.fill(band, &inputs, &mut input);
                    let lines = 2 * rows.start..out_hw[0].min(2 * rows.end);
                    let rows = rows.len();
                    let gradient = &mut gradient[..tiles.width * 2 * rows * pitch];
                    if lines.len() < 2 * rows {
                        gradient.fill(0.0);
                    }
                    tiles.transpose(dy, out_hw, lines, pitch, 2 * rows * pitch, gradient);
                    simd::dispatch(Squares {
                        sizes,
                        planes: &planes,
                        tiles: &tiles,
                        rows,
                        input: &input,
                        gradient,
                        sums: &mut sums,
                    });
                }
            }
            sums
        })
        .collect();
    dw.par_chunks_mut(9 * in_channels).enumerate().for_each(|(channel, dw)| {
        let (own, tiles, channel) = split.of_channel(channel);
        let (partial, element) = (&partial[own], element(&tiles));
        let (start, width) = tiles.place(channel, in_channels);
        for (c, dw) in dw.chunks_exact_mut(9).enumerate() {
            let at = start + c * width;
            let sum = |e: usize| partial.iter().map(|sums| sums[e * element + at]).sum::<f32>();
            let rows = [0, 1, 2, 3].map(|y| outer([0, 1, 2, 3].map(|x| sum(4 * y + x))));
            for x in 0..3 {
                let column = outer(rows.map(|row| row[x]));
                (0..3).for_each(|y| dw[3 * y + x] = column[y]);
            }
        }
    });
}

/// Aᵀ·m of one column.
fn outer([a, b, c, d]: [f32; 4]) -> [f32; 3] {
    [a + b + c, b - c, b + c - d]
}

/// Adds the products of a band of one image's squares to the sums.
struct Squares<'a> {
    sizes: &'a Sizes,
    planes: &'a Planes,
    tiles: &'a Tiles,
    rows: usize,
    input: &'a [f32],
    /// `[tile][line][column][channel of the tile]`, two lines a row of squares, two columns a position.
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Squares<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Squares { sizes, planes, tiles, rows, input, gradient, sums } = self;
        if rows == 0 {
            return;
        }
        let (inputs, lanes) = (sizes.in_channels, S::F32_LANES);
        assert!(tiles.lanes == lanes);
        let positions = (rows - 1) * planes.pitch + sizes.out_hw[1].div_ceil(2);
        // By the channels of all parts, so that sums are the same in however many parts they are made.
        let width = block(ELEMENTS, inputs + sizes.out_channels.next_multiple_of(lanes), lanes).max(32);
        let (from, to) = (apart(inputs, width), apart(tiles.width, width));
        let mut transformed = scratch::take(ELEMENTS * from);
        let mut kernels = scratch::take(ELEMENTS * to);
        let element = tiles.width * inputs.next_multiple_of(ROWS);
        let reach = planes.offsets.iter().max().map_or(0, |offset| offset + positions);
        // What the unsafe code relies on.
        assert!((inputs - 1) * planes.channel + reach + SLACK <= input.len() && width <= SLACK, "padded planes");
        assert!(gradient.len() >= tiles.width * 2 * rows * 2 * planes.pitch, "transposed gradient");
        assert!(sums.len() >= ELEMENTS * element, "sums");
        for start in (0..positions).step_by(width) {
            let count = (positions - start).min(width);
            for c in 0..inputs {
                let plane = input[c * planes.channel + start..].as_ptr();
                let to = transformed[c * width..].as_mut_ptr();
                // SAFETY: every position of every tap, and SLACK more, are readable; the vectors fit in `width`, and an
                // element has `inputs · width` floats and more.
                unsafe { transform_inputs::<S, Two, 2, 4>(s, plane, &planes.offsets, count.div_ceil(lanes), to, from) };
            }
            for (first, wide) in tiles.iter() {
                let tile = &gradient[first * 2 * rows * 2 * planes.pitch..];
                for j in 0..count {
                    let (row, column) = ((start + j) / planes.pitch, (start + j) % planes.pitch);
                    let square = tile[(2 * row * 2 * planes.pitch + 2 * column) * wide..].as_ptr();
                    let to_square = kernels[first * width + j * wide..].as_mut_ptr();
                    for v in (0..wide).step_by(lanes) {
                        // SAFETY: both lines and columns of the square lie in the gradient (checked above); an element
                        // has `tiles.width · width` floats and more.
                        unsafe {
                            transform_gradient(s, square.add(v), [2 * planes.pitch * wide, wide], to_square.add(v), to)
                        };
                    }
                }
            }
            for e in 0..ELEMENTS {
                for (first, wide) in tiles.iter() {
                    let kernels = kernels[e * to + first * width..].as_ptr();
                    let mut sums = sums[e * element + first * inputs.next_multiple_of(ROWS)..].as_mut_ptr();
                    for c in (0..inputs).step_by(ROWS) {
                        // A short last tile repeats its last input; those sums are never read.
                        let rows: [*const f32; ROWS] =
                            std::array::from_fn(|r| transformed[e * from + (c + r).min(inputs - 1) * width..].as_ptr());
                        // SAFETY: `count` positions are readable in every input and in the gradient, and `ROWS · wide`
                        // sums are ours.
                        unsafe {
                            if wide == 2 * lanes {
                                tile::<S, Singles, 2>(s, Singles, rows, kernels, count, sums);
                            } else {
                                tile::<S, Singles, 1>(s, Singles, rows, kernels, count, sums);
                            }
                            sums = sums.add(ROWS * wide);
                        }
                    }
                }
            }
        }
    }
}

/// G·y·Gᵀ for a vector of channels: element (y, x) of the square at `from + y · steps[0] + x · steps[1]`, the results
/// `apart`.
///
/// # Safety
/// A vector is readable at each element of the square, and writable at each multiple of `apart` below 16 of `to`.
#[inline(always)]
unsafe fn transform_gradient<S: Simd>(s: S, from: *const f32, steps: [usize; 2], to: *mut f32, apart: usize) {
    let half = s.splat_f32s(0.5);
    let along = |a: S::f32s, b: S::f32s| {
        let (a_half, b_half) = (s.mul_f32s(a, half), s.mul_f32s(b, half));
        [a, s.add_f32s(a_half, b_half), s.sub_f32s(a_half, b_half), b]
    };
    // SAFETY: the caller's promise.
    unsafe {
        let row = |y: usize| {
            let row = from.add(y * steps[0]);
            along(simd::load(s, row), simd::load(s, row.add(steps[1])))
        };
        let rows = [row(0), row(1)];
        for x in 0..4 {
            let column = along(rows[0][x], rows[1][x]);
            for y in 0..4 {
                simd::store(s, to.add((4 * y + x) * apart), column[y]);
            }
        }
    }
}
