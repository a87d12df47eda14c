//! 3×3 correlations with step 1 by fewer products: F(2×2, 3×3) takes 16 instead of 36 for 2×2 outputs, F(4×4, 3×3) 36 instead of
//! 144 for 4×4, of Winograd's minimal filtering (Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>).
//!
//! The outputs are cut into squares. Each looks at a larger square of inputs d, and with the kernel g it is
//! Aᵀ·[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A (module `squares`). Summed over input channels, the product ⊙ is a matrix product for each of
//! its elements, between kernels (output by input channels) and inputs (input channels by squares); the register tiles of
//! module `tile` compute them. Padded planes with a step of a square's outputs (module `planes`) make the inputs of neighbouring
//! squares contiguous. A block of squares goes through all three steps before the next one, so that it stays in the second-level
//! cache.

use super::channels::Channels;
use super::correlate::Finish;
use super::dtype::Singles;
use super::logistic;
use super::planes::{Band, Planes, SLACK};
use super::scratch;
use super::simd::{self, Shared};
use super::sizes::Sizes;
use super::squares::{Four, Square, Two};
use super::tile::{self, MOST_ROWS, MOST_VECTORS, Part};
use super::winograd_kernels::{Size, Transformed};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

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
    let of_size = match kernels.size {
        Size::Two => run_in::<Two, 2, 4>,
        Size::Four => run_in::<Four, 4, 6>,
    };
    of_size(sizes, in_hw, padding, kernels, x, finish, y);
}

/// [`run`] in squares of `OUT` outputs a side.
fn run_in<T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize>(
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
        floats: OUT * (32 << 10),
        positions: 32,
        multiple: if sizes.batch < threads { threads } else { 0 },
        ..Band::default()
    };
    let planes = planes::<OUT, SIDE>(in_hw, sizes.out_hw, padding, band);
    let y = Shared(y.as_mut_ptr());
    (0..sizes.batch * planes.bands()).into_par_iter().for_each(|task| {
        let (image, band) = (task / planes.bands(), task % planes.bands());
        let mut input = scratch::take(sizes.in_channels * planes.channel + SLACK);
        planes.fill(band, &sizes.inputs(x, image, 0), &mut input);
        let rows = planes.rows_of(band);
        // SAFETY: the image's outputs lie within `y`, whose length was checked above.
        let output = Shared(unsafe { y.get().add(image * to) });
        let work =
            Work { sizes, planes: &planes, kernels, input: &input, rows, finish, output, square: PhantomData::<T> };
        simd::dispatch(work);
    });
}

/// The layout in which the inputs of neighbouring squares are contiguous; element `SIDE·y + x` of a square is a tap.
pub(super) fn planes<const OUT: usize, const SIDE: usize>(
    in_hw: [usize; 2],
    out_hw: [usize; 2],
    padding: [usize; 2],
    band: Band,
) -> Planes {
    let tap = |e: usize| [(e / SIDE) as isize - padding[0] as isize, (e % SIDE) as isize - padding[1] as isize];
    let taps: Vec<_> = (0..SIDE * SIDE).map(tap).collect();
    Planes::new(in_hw, out_hw.map(|side| side.div_ceil(OUT)), [OUT; 2], &taps, band)
}

/// How many squares of `elements` to work on at once: a multiple of `step`, such that what is transformed of so many channels
/// stays in the second-level cache.
pub(super) fn block(elements: usize, channels: usize, step: usize) -> usize {
    (CACHE / (elements * channels) / step).clamp(1, (SLACK / step).max(1)) * step
}

/// Floats from one element to the next, of so many channels in blocks of `width`: an odd number of cache lines, so that the
/// elements spread over the sets of the cache.
pub(super) fn apart(channels: usize, width: usize) -> usize {
    ((channels * width).div_ceil(16) | 1) * 16
}

/// A band of squares of one image.
struct Work<'a, T, const OUT: usize, const SIDE: usize> {
    sizes: &'a Sizes,
    planes: &'a Planes,
    kernels: &'a Transformed,
    input: &'a [f32],
    /// Rows of squares.
    rows: Range<usize>,
    finish: Finish<'a>,
    output: Shared,
    square: PhantomData<T>,
}

/// Panels of output channels whose products share the second-level cache with the inputs.
const PANELS: usize = 4;

/// Floats of transformed inputs and of products that a block may occupy in the second-level cache.
const CACHE: usize = 48 << 10;

impl<T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize> WithSimd for Work<'_, T, OUT, SIDE> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Work { sizes, planes, kernels, input, .. } = self;
        let (inputs, outputs) =
            (sizes.in_channels, sizes.out_channels.min(PANELS * MOST_ROWS[usize::from(S::REGISTER_COUNT >= 32)]));
        if self.rows.is_empty() {
            return;
        }
        let (columns, elements) = (sizes.out_hw[1].div_ceil(OUT), SIDE * SIDE);
        let positions = (self.rows.len() - 1) * planes.pitch + columns;
        let most = MOST_VECTORS[usize::from(S::REGISTER_COUNT >= 32)];
        let step = most * S::F32_LANES;
        let width = block(elements, inputs + outputs, step);
        let (from, to) = (apart(inputs, width), apart(outputs, width));
        let mut transformed = scratch::take(elements * from);
        let mut products = scratch::take(elements * to);
        let mut squares = scratch::take(OUT * OUT * width);
        let reach = planes.offsets.iter().max().map_or(0, |offset| offset + positions);
        assert!((inputs - 1) * planes.channel + reach + SLACK <= input.len(), "padded planes");
        for start in (0..positions).step_by(width) {
            let vectors = (positions - start).min(width).div_ceil(S::F32_LANES);
            for c in 0..inputs {
                let plane = input[c * planes.channel + start..].as_ptr();
                let to = transformed[c * width..].as_mut_ptr();
                // SAFETY: every position of every tap, and SLACK more, are readable (checked above); `vectors` fit in
                // `width`, and an element has `inputs · width` floats and more.
                unsafe { transform_inputs::<S, T, OUT, SIDE>(s, plane, &planes.offsets, vectors, to, from) };
            }
            for panels in kernels.panels.chunks(PANELS) {
                let first = panels[0].first;
                for e in 0..elements {
                    for panel in panels {
                        let weight = &kernels.data[panel.start + e * inputs * panel.rows..][..inputs * panel.rows];
                        for at in (0..vectors).step_by(most) {
                            let part = Part {
                                plane: transformed[e * from + at * S::F32_LANES..].as_ptr(),
                                channel: width,
                                channels: inputs,
                                offsets: &[0],
                                weights: weight.as_ptr(),
                                sums: products[e * to + (panel.first - first) * width + at * S::F32_LANES..]
                                    .as_mut_ptr(),
                                row: width,
                                add: false,
                            };
                            // SAFETY: rows of `width` floats from the element's start on, of which `vectors` are used; the
                            // weights are complete.
                            unsafe { tile::compute(s, Singles, part, panel.rows, most.min(vectors - at)) };
                        }
                    }
                }
                for channel in first..panels.last().map_or(first, |panel| panel.first + panel.rows) {
                    let from = products[(channel - first) * width..].as_ptr();
                    let shift = match self.finish {
                        Finish::Set | Finish::Add => 0.0,
                        Finish::Bias(bias) | Finish::BiasSilu(bias) => bias[channel],
                    };
                    let silu = matches!(self.finish, Finish::BiasSilu(_));
                    // SAFETY: an element has `outputs · width` floats and more.
                    unsafe { transform_products::<S, T, OUT, SIDE>(s, from, to, vectors, shift, silu, &mut squares) };
                    self.put(channel, start..positions.min(start + width), &squares, width);
                }
            }
        }
    }
}

impl<T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize> Work<'_, T, OUT, SIDE> {
    /// Puts a channel's squares, each element `width` apart, in their places; those between the rows are thrown away.
    #[inline(always)]
    fn put(&self, channel: usize, range: Range<usize>, squares: &[f32], width: usize) {
        let [height, columns] = self.sizes.out_hw;
        let (pitch, add) = (self.planes.pitch, matches!(self.finish, Finish::Add));
        let mut at = range.start;
        while at < range.end {
            let (row, column) = (at / pitch, at % pitch);
            let end = range.end.min((row + 1) * pitch);
            let count = (end - at).min(columns.div_ceil(OUT).saturating_sub(column));
            for line in 0..OUT {
                let y = OUT * (self.rows.start + row) + line;
                let used = (OUT * count).min(columns.saturating_sub(OUT * column));
                if y >= height || used == 0 {
                    continue;
                }
                // SAFETY: row `y` of the channel's outputs, which no other task has.
                let to = unsafe {
                    let to = self.output.get().add((channel * height + y) * columns + OUT * column);
                    std::slice::from_raw_parts_mut(to, used)
                };
                let from: [&[f32]; OUT] =
                    std::array::from_fn(|x| &squares[(OUT * line + x) * width + at - range.start..][..count]);
                let (whole, rest) = to.as_chunks_mut::<OUT>();
                for (i, to) in whole.iter_mut().enumerate() {
                    for x in 0..OUT {
                        to[x] = if add { to[x] + from[x][i] } else { from[x][i] };
                    }
                }
                for (to, from) in rest.iter_mut().zip(from) {
                    *to = if add { *to + from[count - 1] } else { from[count - 1] };
                }
            }
            at = end;
        }
    }
}

/// Bᵀ·d·B for vectors of squares: element (y, x) of a square at `plane + offsets[SIDE·y + x]`, the results `apart`.
///
/// # Safety
/// `vectors` vectors are readable at every offset of `plane`, and writable at each multiple of `apart` below `SIDE`² of `to`.
#[inline(always)]
pub(super) unsafe fn transform_inputs<S: Simd, T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize>(
    s: S,
    plane: *const f32,
    offsets: &[usize],
    vectors: usize,
    to: *mut f32,
    apart: usize,
) {
    assert_eq!(offsets.len(), SIDE * SIDE, "a square's elements");
    for v in 0..vectors {
        let at = v * S::F32_LANES;
        let mut rows = [[s.splat_f32s(0.0); SIDE]; SIDE];
        for y in 0..SIDE {
            let mut row = [s.splat_f32s(0.0); SIDE];
            for x in 0..SIDE {
                // SAFETY: the caller's promise.
                row[x] = unsafe { simd::load(s, plane.add(offsets[SIDE * y + x] + at)) };
            }
            rows[y] = T::inputs(s, row);
        }
        for x in 0..SIDE {
            let mut column = [s.splat_f32s(0.0); SIDE];
            for y in 0..SIDE {
                column[y] = rows[y][x];
            }
            let column = T::inputs(s, column);
            for y in 0..SIDE {
                // SAFETY: the caller's promise.
                unsafe { simd::store(s, to.add((SIDE * y + x) * apart + at), column[y]) };
            }
        }
    }
}

/// Aᵀ·m·A for vectors of squares, plus a bias, through SiLU where asked: the elements of m lie `apart`, the outputs of the squares
/// as many equal parts of `squares`.
///
/// # Safety
/// `vectors` vectors are readable at each multiple of `apart` below `SIDE`² of `from`.
#[inline(always)]
unsafe fn transform_products<S: Simd, T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize>(
    s: S,
    from: *const f32,
    apart: usize,
    vectors: usize,
    bias: f32,
    silu: bool,
    squares: &mut [f32],
) {
    let width = squares.len() / (OUT * OUT);
    assert!(vectors * S::F32_LANES <= width, "squares");
    let to = squares.as_mut_ptr();
    let bias = s.splat_f32s(bias);
    for v in 0..vectors {
        let at = v * S::F32_LANES;
        let mut rows = [[s.splat_f32s(0.0); OUT]; SIDE];
        for y in 0..SIDE {
            let mut row = [s.splat_f32s(0.0); SIDE];
            for x in 0..SIDE {
                // SAFETY: the caller's promise.
                row[x] = unsafe { simd::load(s, from.add((SIDE * y + x) * apart + at)) };
            }
            rows[y] = T::outputs(s, row);
        }
        for x in 0..OUT {
            let mut column = [s.splat_f32s(0.0); SIDE];
            for y in 0..SIDE {
                column[y] = rows[y][x];
            }
            let column = T::outputs(s, column);
            for y in 0..OUT {
                let value = s.add_f32s(column[y], bias);
                let value = if silu { logistic::silu(s, value) } else { value };
                // SAFETY: the vectors fit in each of the equal parts of `squares` (checked above).
                unsafe { simd::store(s, to.add((OUT * y + x) * width + at), value) };
            }
        }
    }
}
