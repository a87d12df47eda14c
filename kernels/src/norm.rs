//! Batch normalisation fused with the activation after it (Ioffe and Szegedy 2015, <https://arxiv.org/abs/1502.03167>).
//!
//! Training keeps the convolution's output only: backward recomputes normalised values and the activation's slope.

use super::elementwise::{Activation, Curve, with_curve};
use super::simd::{self, Shared};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// A normalisation over the images and positions of each channel, and the activation that follows.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Positions, height × width.
    pub area: usize,
    /// Scale, one for each channel.
    pub gamma: &'a [f32],
    /// Shift, one for each channel.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
    /// Applied to the normalised, scaled and shifted values.
    pub activation: Activation,
}

/// y = act(γ·(x − mean)/√(var + ε) + β) with the statistics of `x` itself, which go to `mean` and `var` (biased: divided
/// by the count, not by the count less one).
///
/// # Panics
/// If a slice's length is not what `norm` says.
pub fn forward_train(norm: &BatchNorm, x: &[f32], y: &mut [f32], mean: &mut [f32], var: &mut [f32]) {
    norm.check(x.len(), y.len());
    assert!(mean.len() == norm.channels && var.len() == norm.channels, "a mean and a variance for each channel");
    let y = Shared(y.as_mut_ptr());
    mean.par_iter_mut().zip(var).enumerate().for_each(|(c, (mean, var))| {
        let (m, v) = moments(norm.runs(c).map(|run| &x[run]));
        (*mean, *var) = (m as f32, v as f32);
        let (scale, shift) = norm.affine(c, *mean, *var);
        for run in norm.runs(c) {
            // SAFETY: within `y`, whose length was checked, and only channel c's task touches channel c's runs.
            let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(run.start), norm.area) };
            with_curve!(norm.activation, curve => simd::dispatch(Forward { curve, scale, shift, x: &x[run], y }));
        }
    });
}

/// y = act(γ·(x − mean)/√(var + ε) + β) with given statistics.
///
/// # Panics
/// If a slice's length is not what `norm` says.
pub fn forward_eval(norm: &BatchNorm, x: &[f32], mean: &[f32], var: &[f32], y: &mut [f32]) {
    norm.check(x.len(), y.len());
    assert!(mean.len() == norm.channels && var.len() == norm.channels, "a mean and a variance for each channel");
    if norm.area == 0 {
        return;
    }
    y.par_chunks_mut(norm.area).zip(x.par_chunks(norm.area)).enumerate().for_each(|(i, (y, x))| {
        let c = i % norm.channels;
        let (scale, shift) = norm.affine(c, mean[c], var[c]);
        with_curve!(norm.activation, curve => simd::dispatch(Forward { curve, scale, shift, x, y }));
    });
}

/// The sum of `x`, in blocks of single precision added up in double precision.
pub fn sum(x: &[f32]) -> f64 {
    x.chunks(BLOCK).map(|block| simd::dispatch(Sums { x: block, shift: 0.0 }).0).sum()
}

/// The sum of squares of one block of [`sum`]'s size at most.
pub(super) fn squares(x: &[f32]) -> f64 {
    simd::dispatch(Sums { x, shift: 0.0 }).1
}

/// Elements summed in single precision before they are added to a double precision total.
const BLOCK: usize = 4096;

impl BatchNorm<'_> {
    fn check(&self, x: usize, y: usize) {
        let len = self.batch * self.channels * self.area;
        assert!(x == len && y == len, "lengths: expected {len} values, found {x} and {y}");
        assert!(
            self.gamma.len() == self.channels && self.beta.len() == self.channels,
            "a scale and a shift for each channel"
        );
    }

    /// Where channel `c` lies in each image.
    fn runs(&self, c: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let (channels, area) = (self.channels, self.area);
        (0..self.batch).map(move |n| (n * channels + c) * area..(n * channels + c + 1) * area)
    }

    /// Scale and shift of the raw values.
    fn affine(&self, c: usize, mean: f32, var: f32) -> (f32, f32) {
        let scale = self.gamma[c] / (var + self.eps).sqrt();
        (scale, self.beta[c] - mean * scale)
    }
}

/// Mean and biased variance, in one pass: deviations from a first estimate of the mean are summed, so that little is lost
/// where the mean is large against the spread.
fn moments<'a>(runs: impl Iterator<Item = &'a [f32]>) -> (f64, f64) {
    let (mut shift, mut count, mut total, mut squares) = (None, 0, 0.0, 0.0);
    for run in runs {
        let shift = *shift.get_or_insert_with(|| {
            let sample = &run[..run.len().min(64)];
            sample.iter().sum::<f32>() / sample.len().max(1) as f32
        });
        for x in run.chunks(BLOCK) {
            let (sum, square) = simd::dispatch(Sums { x, shift });
            (total, squares) = (total + sum, squares + square);
        }
        count += run.len();
    }
    let count = count.max(1) as f64;
    let (mean, square) = (total / count, squares / count);
    (f64::from(shift.unwrap_or(0.0)) + mean, (square - mean * mean).max(0.0))
}

/// The gradients of [`forward_train`] or, where gradients do not pass `through_statistics` since these do not depend on
/// `x`, of [`forward_eval`]: turns that of its output, in `dx`, into that of its input, and overwrites `dgamma` and
/// `dbeta` with those of γ and β.
///
/// # Panics
/// If a slice's length is not what `norm` says.
pub fn backward(
    norm: &BatchNorm,
    through_statistics: bool,
    x: &[f32],
    [mean, var]: [&[f32]; 2],
    dx: &mut [f32],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    norm.check(x.len(), dx.len());
    assert!(mean.len() == norm.channels && var.len() == norm.channels, "a mean and a variance for each channel");
    assert!(dgamma.len() == norm.channels && dbeta.len() == norm.channels, "a gradient for each channel");
    let dx = Shared(dx.as_mut_ptr());
    let count = (norm.batch * norm.area).max(1) as f32;
    dgamma.par_iter_mut().zip(dbeta).enumerate().for_each(|(c, (dgamma, dbeta))| {
        let (scale, shift) = norm.affine(c, mean[c], var[c]);
        let rstd = 1.0 / (var[c] + norm.eps).sqrt();
        // SAFETY: within `dx`, whose length was checked, and only channel c's task touches channel c's runs.
        let part = |start: usize, len: usize| unsafe { std::slice::from_raw_parts_mut(dx.get().add(start), len) };
        let (mut sum, mut product) = (0.0, 0.0);
        for run in norm.runs(c) {
            for start in run.clone().step_by(BLOCK) {
                let len = BLOCK.min(run.end - start);
                let (x, dz) = (&x[start..][..len], part(start, len));
                let sums = with_curve!(norm.activation, curve => simd::dispatch(Through { curve, scale, shift, mean: mean[c], x, dz }));
                (sum, product) = (sum + sums.0, product + sums.1);
            }
        }
        let (sum, product) = (sum as f32, product as f32 * rstd);
        (*dbeta, *dgamma) = (sum, product);
        let slope = -scale * rstd * product / count;
        let rest = -scale * sum / count - slope * mean[c];
        for run in norm.runs(c) {
            let dx = part(run.start, norm.area);
            match through_statistics {
                true => simd::dispatch(Combine { scale, slope, rest, x: &x[run], dx }),
                false => simd::dispatch(|| dx.iter_mut().for_each(|dx| *dx *= scale)),
            }
        }
    });
}

/// Σ(x − shift) and Σ(x − shift)².
struct Sums<'a> {
    x: &'a [f32],
    shift: f32,
}

impl WithSimd for Sums<'_> {
    type Output = (f64, f64);
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> (f64, f64) {
        let (body, rest) = S::as_simd_f32s(self.x);
        let (body, last) = body.as_chunks::<4>();
        let shift = s.splat_f32s(self.shift);
        let (mut sum, mut square) = ([s.splat_f32s(0.0); 4], [s.splat_f32s(0.0); 4]);
        for x in body {
            for i in 0..4 {
                let d = s.sub_f32s(x[i], shift);
                sum[i] = s.add_f32s(sum[i], d);
                square[i] = s.mul_add_e_f32s(d, d, square[i]);
            }
        }
        for x in last {
            let d = s.sub_f32s(*x, shift);
            sum[0] = s.add_f32s(sum[0], d);
            square[0] = s.mul_add_e_f32s(d, d, square[0]);
        }
        let a = f64::from(s.reduce_sum_f32s(four(s, sum)));
        let b = f64::from(s.reduce_sum_f32s(four(s, square)));
        rest.iter().map(|x| f64::from(x - self.shift)).fold((a, b), |(a, b), d| (a + d, b + d * d))
    }
}

#[inline(always)]
fn four<S: Simd>(s: S, v: [S::f32s; 4]) -> S::f32s {
    s.add_f32s(s.add_f32s(v[0], v[1]), s.add_f32s(v[2], v[3]))
}

/// y = curve(scale·x + shift)
struct Forward<'a, C> {
    curve: C,
    scale: f32,
    shift: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<C: Curve> WithSimd for Forward<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let ((x, x_rest), (y, y_rest)) = (S::as_simd_f32s(self.x), S::as_mut_simd_f32s(self.y));
        let (scale, shift) = (s.splat_f32s(self.scale), s.splat_f32s(self.shift));
        for (y, x) in y.iter_mut().zip(x) {
            *y = self.curve.value(s, s.mul_add_e_f32s(*x, scale, shift));
        }
        let rest = self.curve.value(s, s.mul_add_e_f32s(s.partial_load_f32s(x_rest), scale, shift));
        s.partial_store_f32s(y_rest, rest);
    }
}

/// The gradient before the activation, dz = curve′(scale·x + shift)·dy, with dy in `dz`, and Σ dz and Σ dz·(x − mean).
struct Through<'a, C> {
    curve: C,
    scale: f32,
    shift: f32,
    mean: f32,
    x: &'a [f32],
    dz: &'a mut [f32],
}

impl<C: Curve> Through<'_, C> {
    /// One vector of dz, added to the sums.
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::f32s, dy: S::f32s, sums: &mut (S::f32s, S::f32s)) -> S::f32s {
        let z = s.mul_add_e_f32s(x, s.splat_f32s(self.scale), s.splat_f32s(self.shift));
        let dz = s.mul_f32s(self.curve.slope(s, z), dy);
        sums.0 = s.add_f32s(sums.0, dz);
        sums.1 = s.mul_add_e_f32s(dz, s.sub_f32s(x, s.splat_f32s(self.mean)), sums.1);
        dz
    }
}

impl<C: Curve> WithSimd for Through<'_, C> {
    type Output = (f64, f64);
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) -> (f64, f64) {
        let (dz, dz_rest) = S::as_mut_simd_f32s(std::mem::take(&mut self.dz));
        let (x, x_rest) = S::as_simd_f32s(self.x);
        let mut sums = (s.splat_f32s(0.0), s.splat_f32s(0.0));
        for (dz, x) in dz.iter_mut().zip(x) {
            *dz = self.at(s, *x, *dz, &mut sums);
        }
        // Lanes beyond the end have gradient zero.
        let last = self.at(s, s.partial_load_f32s(x_rest), s.partial_load_f32s(dz_rest), &mut sums);
        s.partial_store_f32s(dz_rest, last);
        (f64::from(s.reduce_sum_f32s(sums.0)), f64::from(s.reduce_sum_f32s(sums.1)))
    }
}

/// dx = scale·dx + slope·x + rest
struct Combine<'a> {
    scale: f32,
    slope: f32,
    rest: f32,
    x: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (scale, slope, rest) = (s.splat_f32s(self.scale), s.splat_f32s(self.slope), s.splat_f32s(self.rest));
        let ((x, x_rest), (dx, dx_rest)) = (S::as_simd_f32s(self.x), S::as_mut_simd_f32s(self.dx));
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = s.mul_add_e_f32s(*dx, scale, s.mul_add_e_f32s(*x, slope, rest));
        }
        let (x, d) = (s.partial_load_f32s(x_rest), s.partial_load_f32s(dx_rest));
        s.partial_store_f32s(dx_rest, s.mul_add_e_f32s(d, scale, s.mul_add_e_f32s(x, slope, rest)));
    }
}
