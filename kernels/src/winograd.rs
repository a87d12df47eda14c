//! 3×3 correlations with step 1 by 16 instead of 36 products for four outputs: F(2×2, 3×3) of Winograd's minimal filtering
//! (Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>).
//!
//! The outputs are cut into squares of 2×2. Each looks at 4×4 inputs d, and with the kernel g it is
//! Aᵀ·[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A. Summed over input channels, the product ⊙ is 16 matrix products, one for each of its
//! elements, between kernels (output by input channels) and inputs (input channels by squares); the register tiles of
//! module `tile` compute them. Padded planes with a step of 2 (module `planes`) make the inputs of neighbouring squares
//! contiguous. A block of squares goes through all three steps before the next one, so that it stays in the second-level
//! cache.

use super::channels::Channels;
use super::correlate::Finish;
use super::dtype::Singles;
use super::logistic;
use super::pack::{Kernels, Packed, pack};
use super::planes::{Band, Planes, SLACK};
use super::scratch;
use super::simd::{self, Shared};
use super::sizes::Sizes;
use super::tile::{self, MOST_VECTORS, Part};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a transformed kernel, and of a transformed square of inputs.
pub(super) const ELEMENTS: usize = 16;

/// Kernels G·g·Gᵀ, packed for the tiles: a group for each element.
pub(super) struct Transformed(Packed);

impl Transformed {
    /// Transforms kernels of 9 taps in row-major order, or in reverse where `turned` (by half a turn, as the data
    /// gradient needs them).
    pub(super) fn new(sizes: &Sizes, turned: bool, kernels: Kernels) -> Self {
        let inputs = sizes.in_channels;
        // [out_channel][element][in_channel]
        let mut transformed = scratch::take(sizes.out_channels * ELEMENTS * inputs);
        transformed.par_chunks_mut(ELEMENTS * inputs).enumerate().for_each(|(o, row)| {
            for i in 0..inputs {
                let g = &kernels.numbers[kernels.start(0, o, i)..][..9];
                let tap = |y: usize, x: usize| g[if turned { 8 - (3 * y + x) } else { 3 * y + x }];
                let columns = [0, 1, 2].map(|x| filter([tap(0, x), tap(1, x), tap(2, x)]));
                for y in 0..4 {
                    let line = filter([columns[0][y], columns[1][y], columns[2][y]]);
                    (0..4).for_each(|x| row[(4 * y + x) * inputs + i] = line[x]);
                }
            }
        });
        let kernels = Kernels { numbers: &transformed, group: inputs, output: ELEMENTS * inputs, input: 1 };
        Self(pack(&Sizes { groups: ELEMENTS, ..*sizes }, &[0], kernels))
    }
}

/// G·g of one column of a kernel.
fn filter([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
}

/// Runs over every image of `x`, which has a border of `padding` zeros; `y` holds `batch · out_channels` planes of
/// `out_hw`. There is one group.
pub(super) fn run(
    sizes: &Sizes,
    in_hw: [usize; 2],
    padding: [usize; 2],
    kernels: &Transformed,
    x: &Channels,
    finish: Finish,
    y: &mut [f32],
) {
    let [height, width] = sizes.out_hw;
    let to = sizes.out_channels * height * width;
    assert_eq!(y.len(), sizes.batch * to, "output length");
    let threads = rayon::current_num_threads();
    let band = Band {
        channels: sizes.in_channels,
        floats: 64 << 10,
        positions: 32,
        multiple: if sizes.batch < threads { threads } else { 0 },
        ..Band::default()
    };
    let planes = planes(in_hw, sizes.out_hw, padding, band);
    let y = Shared(y.as_mut_ptr());
    (0..sizes.batch * planes.bands()).into_par_iter().for_each(|task| {
        let (image, band) = (task / planes.bands(), task % planes.bands());
        let mut input = scratch::take(sizes.in_channels * planes.channel + SLACK);
        planes.fill(band, &sizes.inputs(x, image, 0), &mut input);
        let rows = planes.rows_of(band);
        // SAFETY: the image's outputs lie within `y`, whose length was checked above.
        let output = Shared(unsafe { y.get().add(image * to) });
        simd::dispatch(Work { sizes, planes: &planes, kernels, input: &input, rows, finish, output });
    });
}

/// The layout in which the inputs of neighbouring squares are contiguous; element `4·y + x` of a square is a tap.
pub(super) fn planes(in_hw: [usize; 2], out_hw: [usize; 2], padding: [usize; 2], band: Band) -> Planes {
    let tap = |e: usize| [(e / 4) as isize - padding[0] as isize, (e % 4) as isize - padding[1] as isize];
    let taps: Vec<_> = (0..ELEMENTS).map(tap).collect();
    Planes::new(in_hw, out_hw.map(|side| side.div_ceil(2)), [2, 2], &taps, band)
}

/// How many squares to work on at once: a multiple of `step`, such that what is transformed of so many channels stays in
/// the second-level cache.
pub(super) fn block(channels: usize, step: usize) -> usize {
    (CACHE / (ELEMENTS * channels) / step).clamp(1, (SLACK / step).max(1)) * step
}

/// Floats from one element to the next, of so many channels in blocks of `width`: an odd number of cache lines, so that the
/// elements spread over the sets of the cache.
pub(super) fn apart(channels: usize, width: usize) -> usize {
    ((channels * width).div_ceil(16) | 1) * 16
}

/// A band of squares of one image.
struct Work<'a> {
    sizes: &'a Sizes,
    planes: &'a Planes,
    kernels: &'a Transformed,
    input: &'a [f32],
    /// Rows of squares.
    rows: Range<usize>,
    finish: Finish<'a>,
    output: Shared,
}

/// Floats of transformed inputs and of products that a block may occupy in the second-level cache.
const CACHE: usize = 48 << 10;

impl WithSimd for Work<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Work { sizes, planes, kernels, input, .. } = self;
        let (inputs, outputs) = (sizes.in_channels, sizes.out_channels);
        if self.rows.is_empty() {
            return;
        }
        let columns = sizes.out_hw[1].div_ceil(2);
        let positions = (self.rows.len() - 1) * planes.pitch + columns;
        let most = MOST_VECTORS[usize::from(S::REGISTER_COUNT >= 32)];
        let step = most * S::F32_LANES;
        let width = block(inputs + outputs, step);
        let (from, to) = (apart(inputs, width), apart(outputs, width));
        let mut transformed = scratch::take(ELEMENTS * from);
        let mut products = scratch::take(ELEMENTS * to);
        let mut squares = scratch::take(4 * width);
        let reach = planes.offsets.iter().max().map_or(0, |offset| offset + positions);
        assert!((inputs - 1) * planes.channel + reach + SLACK <= input.len(), "padded planes");
        for start in (0..positions).step_by(width) {
            let vectors = (positions - start).min(width).div_ceil(S::F32_LANES);
            for c in 0..inputs {
                let plane = input[c * planes.channel + start..].as_ptr();
                let to = transformed[c * width..].as_mut_ptr();
                // SAFETY: every position of every tap, and SLACK more, are readable (checked above); `vectors` fit in
                // `width`, and an element has `inputs · width` floats and more.
                unsafe { transform_inputs(s, plane, &planes.offsets, vectors, to, from) };
            }
            for e in 0..ELEMENTS {
                for panel in &kernels.0.panels {
                    let weight = kernels.0.group(e)[panel.start..][..inputs * panel.rows].as_ptr();
                    for at in (0..vectors).step_by(most) {
                        let part = Part {
                            plane: transformed[e * from + at * S::F32_LANES..].as_ptr(),
                            channel: width,
                            channels: inputs,
                            offsets: &[0],
                            weights: weight,
                            sums: products[e * to + panel.first * width + at * S::F32_LANES..].as_mut_ptr(),
                            row: width,
                            add: false,
                        };
                        // SAFETY: rows of `width` floats from the element's start on, of which `vectors` are used; the
                        // weights are complete.
                        unsafe { tile::compute(s, Singles, part, panel.rows, most.min(vectors - at)) };
                    }
                }
            }
            for channel in 0..outputs {
                let from = products[channel * width..].as_ptr();
                let shift = match self.finish {
                    Finish::Set | Finish::Add => 0.0,
                    Finish::Bias(bias) | Finish::BiasSilu(bias) => bias[channel],
                };
                let silu = matches!(self.finish, Finish::BiasSilu(_));
                // SAFETY: an element has `outputs · width` floats and more.
                unsafe { transform_products(s, from, to, vectors, shift, silu, &mut squares) };
                self.put(channel, start..positions.min(start + width), &squares, width);
            }
        }
    }
}

impl Work<'_> {
    /// Puts a channel's squares, each element `width` apart, in their places; those between the rows are thrown away.
    #[inline(always)]
    fn put(&self, channel: usize, range: Range<usize>, squares: &[f32], width: usize) {
        let [height, columns] = self.sizes.out_hw;
        let (pitch, add) = (self.planes.pitch, matches!(self.finish, Finish::Add));
        let mut at = range.start;
        while at < range.end {
            let (row, column) = (at / pitch, at % pitch);
            let end = range.end.min((row + 1) * pitch);
            let count = (end - at).min(columns.div_ceil(2).saturating_sub(column));
            for half in 0..2 {
                let y = 2 * (self.rows.start + row) + half;
                let used = (2 * count).min(columns.saturating_sub(2 * column));
                if y >= height || used == 0 {
                    continue;
                }
                // SAFETY: row `y` of the channel's outputs, which no other task has.
                let to = unsafe {
                    let to = self.output.get().add((channel * height + y) * columns + 2 * column);
                    std::slice::from_raw_parts_mut(to, used)
                };
                let line = |x: usize| &squares[(2 * half + x) * width + at - range.start..][..count];
                let (pairs, rest) = to.as_chunks_mut::<2>();
                let both = line(0).iter().zip(line(1));
                if add {
                    pairs.iter_mut().zip(both).for_each(|(to, (a, b))| *to = [to[0] + a, to[1] + b]);
                } else {
                    pairs.iter_mut().zip(both).for_each(|(to, (a, b))| *to = [*a, *b]);
                }
                if let ([to], Some(last)) = (rest, line(0).last()) {
                    *to = if add { *to + last } else { *last };
                }
            }
            at = end;
        }
    }
}

/// Bᵀ·d·B for vectors of squares: element (y, x) of a square at `plane + offsets[4·y + x]`, the results `apart`.
///
/// # Safety
/// `vectors` vectors are readable at every offset of `plane`, and writable at each multiple of `apart` below 16 of `to`.
#[inline(always)]
pub(super) unsafe fn transform_inputs<S: Simd>(
    s: S,
    plane: *const f32,
    offsets: &[usize],
    vectors: usize,
    to: *mut f32,
    apart: usize,
) {
    let offsets: &[usize; ELEMENTS] = offsets.try_into().expect("a square has 16 elements");
    let along = |d: [S::f32s; 4]| {
        [s.sub_f32s(d[0], d[2]), s.add_f32s(d[1], d[2]), s.sub_f32s(d[2], d[1]), s.sub_f32s(d[1], d[3])]
    };
    for v in 0..vectors {
        let at = v * S::F32_LANES;
        let mut rows = [[s.splat_f32s(0.0); 4]; 4];
        for y in 0..4 {
            let mut row = [s.splat_f32s(0.0); 4];
            for x in 0..4 {
                // SAFETY: the caller's promise.
                row[x] = unsafe { simd::load(s, plane.add(offsets[4 * y + x] + at)) };
            }
            rows[y] = along(row);
        }
        for x in 0..4 {
            let column = along([rows[0][x], rows[1][x], rows[2][x], rows[3][x]]);
            for y in 0..4 {
                // SAFETY: the caller's promise.
                unsafe { simd::store(s, to.add((4 * y + x) * apart + at), column[y]) };
            }
        }
    }
}

/// Aᵀ·m·A for vectors of squares, plus a bias, through SiLU where asked: the elements of m lie `apart`, the four outputs
/// of the squares a quarter of `squares`.
///
/// # Safety
/// `vectors` vectors are readable at each multiple of `apart` below 16 of `from`.
#[inline(always)]
unsafe fn transform_products<S: Simd>(
    s: S,
    from: *const f32,
    apart: usize,
    vectors: usize,
    bias: f32,
    silu: bool,
    squares: &mut [f32],
) {
    let width = squares.len() / 4;
    assert!(vectors * S::F32_LANES <= width, "squares");
    let to = squares.as_mut_ptr();
    let bias = s.splat_f32s(bias);
    let along = |m: [S::f32s; 4]| [s.add_f32s(s.add_f32s(m[0], m[1]), m[2]), s.sub_f32s(s.sub_f32s(m[1], m[2]), m[3])];
    for v in 0..vectors {
        let at = v * S::F32_LANES;
        let mut rows = [[s.splat_f32s(0.0); 2]; 4];
        for y in 0..4 {
            let mut row = [s.splat_f32s(0.0); 4];
            for x in 0..4 {
                // SAFETY: the caller's promise.
                row[x] = unsafe { simd::load(s, from.add((4 * y + x) * apart + at)) };
            }
            rows[y] = along(row);
        }
        for x in 0..2 {
            let column = along([rows[0][x], rows[1][x], rows[2][x], rows[3][x]]);
            for y in 0..2 {
                let value = s.add_f32s(column[y], bias);
                let value = if silu { logistic::silu(s, value) } else { value };
                // SAFETY: the vectors fit in a quarter of `squares` (checked above).
                unsafe { simd::store(s, to.add((2 * y + x) * width + at), value) };
            }
        }
    }
}
