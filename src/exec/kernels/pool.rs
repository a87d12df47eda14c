//! Max-pooling with −∞ borders, separable: maxima along rows first, then along columns.

use super::scratch;
use super::simd;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

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

    /// The part of `0..in_hw` that output `o` sees along axis `a`.
    fn window(&self, a: usize, o: usize) -> Range<usize> {
        let at = o * self.stride[a];
        at.saturating_sub(self.padding[a])..(at + self.kernel[a] - self.padding[a]).min(self.in_hw[a])
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
    y.par_chunks_mut(oh * ow).zip(x.par_chunks(area)).for_each(|(y, x)| {
        let mut rows = scratch::take(s.in_hw[0] * ow);
        simd::dispatch(Maxima { s, x, rows: &mut rows, y });
    });
}

/// The maxima of one plane; `rows` are those along the rows only.
struct Maxima<'a> {
    s: &'a PoolShape,
    x: &'a [f32],
    rows: &'a mut [f32],
    y: &'a mut [f32],
}

impl WithSimd for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Maxima { s, x, rows, y } = self;
        let width = s.out_hw()[1];
        for (x, to) in x.chunks_exact(s.in_hw[1]).zip(rows.chunks_exact_mut(width)) {
            to.fill(f32::NEG_INFINITY);
            along(s, 1, width, |outputs, first| keep(&mut to[outputs], &x[first..], s.stride[1]));
        }
        for (o, y) in y.chunks_exact_mut(width).enumerate() {
            y.fill(f32::NEG_INFINITY);
            for r in s.window(0, o) {
                keep(y, &rows[r * width..][..width], 1);
            }
        }
    }
}

/// The gradient of [`max_forward`]: each output's goes to the first maximum of its window in row-major order, as in
/// PyTorch. Written to `dx`, or added to it.
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
    let buffers = || (Best::new(s.in_hw[0] * ow), Best::new(ow));
    planes.for_each_init(buffers, |(rows, best), ((dx, x), dy)| {
        simd::dispatch(ToMaxima { s, x, rows, best, dy, dx });
    });
}

/// Adds a plane's gradients where its maxima are.
struct ToMaxima<'a> {
    s: &'a PoolShape,
    x: &'a [f32],
    rows: &'a mut Best,
    best: &'a mut Best,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for ToMaxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let ToMaxima { s, x, rows, best, dy, dx } = self;
        let width = s.out_hw()[1];
        // Along each row the first maximum of every window, then the first of those along the columns.
        for (row, x) in x.chunks_exact(s.in_hw[1]).enumerate() {
            let mut to = rows.row(row * width..(row + 1) * width);
            to.clear();
            along(s, 1, width, |outputs, first| {
                let at = row * s.in_hw[1] + first;
                to.narrow(outputs).keep_inputs(&x[first..], s.stride[1], at as u32);
            });
        }
        for (o, dy) in dy.chunks_exact(width).enumerate() {
            let mut to = best.row(0..width);
            to.clear();
            for row in s.window(0, o) {
                to.keep_best(rows.row(row * width..(row + 1) * width));
            }
            dy.iter().zip(&*to.places).for_each(|(dy, &place)| dx[place as usize] += dy);
        }
    }
}

/// Maxima and the places where they were found.
struct Best {
    values: Vec<f32>,
    places: Vec<u32>,
}

struct BestRow<'a> {
    values: &'a mut [f32],
    places: &'a mut [u32],
}

impl Best {
    fn new(len: usize) -> Self {
        Best { values: vec![0.0; len], places: vec![0; len] }
    }

    #[inline(always)]
    fn row(&mut self, range: Range<usize>) -> BestRow<'_> {
        BestRow { values: &mut self.values[range.clone()], places: &mut self.places[range] }
    }
}

impl BestRow<'_> {
    /// Nothing found yet; no place is `u32::MAX`.
    #[inline(always)]
    fn clear(&mut self) {
        self.values.fill(f32::NEG_INFINITY);
        self.places.fill(u32::MAX);
    }

    #[inline(always)]
    fn narrow(&mut self, range: Range<usize>) -> BestRow<'_> {
        BestRow { values: &mut self.values[range.clone()], places: &mut self.places[range] }
    }

    /// Keeps inputs a step apart, the first of which is at `place`, where they are larger.
    #[inline(always)]
    fn keep_inputs(&mut self, x: &[f32], step: usize, place: u32) {
        let best = self.values.iter_mut().zip(&mut *self.places);
        for (i, ((value, at), x)) in best.zip(x.iter().step_by(step)).enumerate() {
            let better = *x > *value || x.is_nan() || *at == u32::MAX;
            *value = if better { *x } else { *value };
            *at = if better { place + (i * step) as u32 } else { *at };
        }
    }

    /// Keeps another row's maxima where they are larger.
    #[inline(always)]
    fn keep_best(&mut self, other: BestRow) {
        let best = self.values.iter_mut().zip(&mut *self.places);
        for ((value, at), (x, place)) in best.zip(other.values.iter().zip(&*other.places)) {
            let better = *x > *value || x.is_nan() || *at == u32::MAX;
            *value = if better { *x } else { *value };
            *at = if better { *place } else { *at };
        }
    }
}

/// Calls `f(outputs, first input)` for every tap of a window along axis `a`, with the outputs for which the tap is
/// inside the input; their inputs are a stride apart.
#[inline(always)]
fn along(s: &PoolShape, a: usize, outputs: usize, mut f: impl FnMut(Range<usize>, usize)) {
    let (stride, padding) = (s.stride[a], s.padding[a]);
    for k in 0..s.kernel[a] {
        let from = padding.saturating_sub(k).div_ceil(stride);
        let end = (s.in_hw[a] + padding).saturating_sub(k).div_ceil(stride).min(outputs);
        if from < end {
            f(from..end, from * stride + k - padding);
        }
    }
}

/// Keeps the larger of each output and its input.
#[inline(always)]
fn keep(to: &mut [f32], from: &[f32], step: usize) {
    let pick = |to: &mut f32, from: f32| *to = if from > *to || from.is_nan() { from } else { *to };
    if step == 1 {
        to.iter_mut().zip(from).for_each(|(to, from)| pick(to, *from));
    } else {
        to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| pick(to, *from));
    }
}
