//! Max-pooling with −∞ borders, separable: maxima along rows first, then along columns.
//!
//! A plane is worked on together with its border, as one long row: the window that begins at place i sees the places
//! i + k and i + k · pitch, so that there are no cases at the edges. Windows that reach beyond a row's end are computed
//! too, and not looked at.

use super::simd;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// The sizes of a 2-d max-pool; pairs are (height, width). Padding is at most half the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub in_hw: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Border, of −∞, on either side.
    pub padding: [usize; 2],
}

impl PoolShape {
    /// Height and width of the output (rounded down).
    pub fn out_hw(&self) -> [usize; 2] {
        [0, 1].map(|a| {
            let padded = self.in_hw[a] + 2 * self.padding[a];
            if padded < self.kernel[a] { 0 } else { (padded - self.kernel[a]) / self.stride[a] + 1 }
        })
    }

    /// Height and width of the input with its border.
    fn padded(&self) -> [usize; 2] {
        [0, 1].map(|a| self.in_hw[a] + 2 * self.padding[a])
    }

    /// Where the windows begin in a plane with its border, row by row.
    fn starts(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        let ([rows, columns], pitch, stride) = (self.out_hw(), self.padded()[1], self.stride);
        (0..rows).map(move |row| (0..columns).map(move |column| row * stride[0] * pitch + column * stride[1]))
    }

    fn check(&self, x: usize, y: usize) -> ([usize; 2], usize) {
        assert!(
            [0, 1].iter().all(|&a| self.stride[a] > 0 && 2 * self.padding[a] <= self.kernel[a] && self.kernel[a] > 0),
            "padding at most half the window: {self:?}"
        );
        let (out, area) = (self.out_hw(), self.in_hw[0] * self.in_hw[1]);
        assert!(
            x == self.planes * area && y == self.planes * out[0] * out[1],
            "lengths for {self:?}: found {x} and {y}"
        );
        (out, area)
    }
}

/// Overwrites `y` with the maxima of `x`'s windows; a NaN in a window is its maximum.
///
/// # Panics
/// If a slice's length is not what `s` says, or the padding is more than half the window.
pub fn max_forward(s: &PoolShape, x: &[f32], y: &mut [f32]) {
    let ([oh, ow], area) = s.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let planes = y.par_chunks_mut(oh * ow).zip(x.par_chunks(area));
    planes.for_each_init(|| Plane::new(s), |plane, (y, x)| simd::dispatch(Forward { s, plane, x, y }));
}

/// The gradient of [`max_forward`]: each output's goes to the first maximum of its window in row-major order, as in
/// PyTorch (to none in a window of nothing but −∞). Written to `dx`, or added to it.
///
/// # Panics
/// If a slice's length is not what `s` says, or the padding is more than half the window.
pub fn max_backward(s: &PoolShape, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    let ([oh, ow], area) = s.check(dx.len(), dy.len());
    assert_eq!(x.len(), dx.len(), "lengths");
    if !accumulate {
        dx.par_chunks_mut(1 << 14).for_each(|dx| dx.fill(0.0));
    }
    if dy.is_empty() {
        return;
    }
    let planes = dx.par_chunks_mut(area).zip(x.par_chunks(area)).zip(dy.par_chunks(oh * ow));
    planes.for_each_init(|| Plane::new(s), |plane, ((dx, x), dy)| simd::dispatch(Backward { s, plane, x, dy, dx }));
}

/// A plane with its border, and for every place in it the maximum of a window that begins there, with its place.
struct Plane {
    numbers: Vec<f32>,
    /// Of windows one row high.
    rows: Vec<f32>,
    row_places: Vec<u32>,
    maxima: Vec<f32>,
    places: Vec<u32>,
}

impl Plane {
    fn new(s: &PoolShape) -> Self {
        let [height, width] = s.padded();
        let numbers = vec![f32::NEG_INFINITY; height * width];
        let places = vec![0; height * width];
        Plane { rows: numbers.clone(), maxima: numbers.clone(), numbers, row_places: places.clone(), places }
    }

    /// Puts the input within the border.
    #[inline(always)]
    fn fill(&mut self, s: &PoolShape, x: &[f32]) {
        let lines = self.numbers.chunks_exact_mut(s.padded()[1]).skip(s.padding[0]);
        for (line, x) in lines.zip(x.chunks_exact(s.in_hw[1])) {
            line[s.padding[1]..][..x.len()].copy_from_slice(x);
        }
    }
}

struct Forward<'a> {
    s: &'a PoolShape,
    plane: &'a mut Plane,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { s, plane, x, y } = self;
        plane.fill(s, x);
        let Plane { numbers, rows, maxima, .. } = plane;
        largest(simd, numbers, 1, s.kernel[1], rows);
        largest(simd, rows, s.padded()[1], s.kernel[0], maxima);
        let lines = maxima.chunks(s.padded()[1] * s.stride[0]);
        for (y, line) in y.chunks_exact_mut(s.out_hw()[1]).zip(lines) {
            match s.stride[1] {
                1 => y.copy_from_slice(&line[..y.len()]),
                stride => y.iter_mut().zip(line.iter().step_by(stride)).for_each(|(y, most)| *y = *most),
            }
        }
    }
}

struct Backward<'a> {
    s: &'a PoolShape,
    plane: &'a mut Plane,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Backward { s, plane, x, dy, dx } = self;
        plane.fill(s, x);
        let ([_, pitch], Plane { numbers, rows, row_places, maxima, places }) = (s.padded(), plane);
        rows.copy_from_slice(numbers);
        row_places.iter_mut().zip(0..).for_each(|(to, place)| *to = place);
        // The first maximum along the rows, then the first of those along the columns.
        for k in 1..s.kernel[1] {
            let from = numbers[k.min(numbers.len())..].iter().zip(k as u32..);
            rows.iter_mut().zip(&mut *row_places).zip(from).for_each(|(best, (number, place))| {
                keep_place(best, *number, place);
            });
        }
        maxima.copy_from_slice(rows);
        places.copy_from_slice(row_places);
        for k in 1..s.kernel[0] {
            let above = (k * pitch).min(rows.len());
            let from = rows[above..].iter().zip(&row_places[above..]);
            maxima.iter_mut().zip(&mut *places).zip(from).for_each(|(best, (number, place))| {
                keep_place(best, *number, *place);
            });
        }
        // The numbers have served; the gradients of their places come there.
        numbers.fill(0.0);
        for (dy, starts) in dy.chunks_exact(s.out_hw()[1]).zip(s.starts()) {
            dy.iter().zip(starts).for_each(|(dy, start)| numbers[places[start] as usize] += dy);
        }
        let lines = numbers.chunks_exact(pitch).skip(s.padding[0]);
        for (dx, line) in dx.chunks_exact_mut(s.in_hw[1]).zip(lines) {
            dx.iter_mut().zip(&line[s.padding[1]..]).for_each(|(dx, gradient)| *dx += gradient);
        }
        numbers.fill(f32::NEG_INFINITY);
    }
}

/// The larger of two numbers; a NaN is larger than any.
#[inline(always)]
fn larger<S: Simd>(s: S, a: S::f32s, b: S::f32s) -> S::f32s {
    s.select_f32s(s.or_m32s(s.greater_than_f32s(b, a), s.not_m32s(s.equal_f32s(b, b))), b, a)
}

/// For every place of `from` from which `count` places, `step` apart, can be seen, the largest number in them.
#[inline(always)]
fn largest<S: Simd>(s: S, from: &[f32], step: usize, count: usize, to: &mut [f32]) {
    let end = from.len() - (count - 1) * step;
    let (vectors, rest) = S::as_mut_simd_f32s(&mut to[..end]);
    let left = end - rest.len();
    for (start, to) in (0..left).step_by(S::F32_LANES).zip(vectors) {
        *to = s.splat_f32s(f32::NEG_INFINITY);
        for k in 0..count {
            *to = larger(s, *to, S::as_simd_f32s(&from[start + k * step..][..S::F32_LANES]).0[0]);
        }
    }
    let mut most = s.splat_f32s(f32::NEG_INFINITY);
    for k in 0..count {
        most = larger(s, most, s.partial_load_f32s(&from[left + k * step..][..rest.len()]));
    }
    s.partial_store_f32s(rest, most);
}

/// Keeps the larger of two numbers with its place.
#[inline(always)]
fn keep_place((best, at): (&mut f32, &mut u32), number: f32, place: u32) {
    let better = number > *best || number.is_nan();
    *best = if better { number } else { *best };
    *at = if better { place } else { *at };
}
