//! Element by element: activations and their gradients, sums, nearest upsampling, copies of channel ranges.

use super::{logistic, simd};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// y = x
    None,
    /// x·σ(x)
    Silu,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// max(x, 0)
    Relu,
    /// x where x > 0, otherwise x times this slope
    LeakyRelu(f32),
    /// x·min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, <https://arxiv.org/abs/1905.02244>)
    Hardswish,
}

/// A function of one variable and its derivative, on vectors.
pub(super) trait Curve: Copy + Send + Sync {
    fn value<S: Simd>(self, s: S, x: S::f32s) -> S::f32s;
    fn slope<S: Simd>(self, s: S, x: S::f32s) -> S::f32s;
}

macro_rules! curve {
    ($curve:ty, $this:pat, |$s:ident, $x:ident| $value:expr, $slope:expr) => {
        impl Curve for $curve {
            #[inline(always)]
            fn value<S: Simd>(self, $s: S, $x: S::f32s) -> S::f32s {
                let $this = self;
                $value
            }
            #[inline(always)]
            fn slope<S: Simd>(self, $s: S, $x: S::f32s) -> S::f32s {
                let $this = self;
                $slope
            }
        }
    };
}

#[derive(Clone, Copy)]
pub(super) struct Identity;
impl Curve for Identity {
    #[inline(always)]
    fn value<S: Simd>(self, _: S, x: S::f32s) -> S::f32s {
        x
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, _: S::f32s) -> S::f32s {
        s.splat_f32s(1.0)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Silu;
curve!(Silu, _, |s, x| logistic::silu(s, x), logistic::silu_slope(s, x));

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;
curve!(Sigmoid, _, |s, x| logistic::sigmoid(s, x), {
    let g = logistic::sigmoid(s, x);
    s.mul_f32s(g, s.sub_f32s(s.splat_f32s(1.0), g))
});

#[derive(Clone, Copy)]
pub(super) struct LeakyRelu(pub f32);
curve!(
    LeakyRelu,
    LeakyRelu(a),
    |s, x| s.select_f32s(s.greater_than_f32s(x, s.splat_f32s(0.0)), x, s.mul_f32s(x, s.splat_f32s(a))),
    s.select_f32s(s.greater_than_f32s(x, s.splat_f32s(0.0)), s.splat_f32s(1.0), s.splat_f32s(a))
);

#[derive(Clone, Copy)]
pub(super) struct Hardswish;
curve!(
    Hardswish,
    _,
    |s, x| {
        let gate = s.min_f32s(s.max_f32s(s.add_f32s(x, s.splat_f32s(3.0)), s.splat_f32s(0.0)), s.splat_f32s(6.0));
        s.mul_f32s(x, s.mul_f32s(gate, s.splat_f32s(1.0 / 6.0)))
    },
    {
        let inner = s.mul_add_e_f32s(x, s.splat_f32s(1.0 / 3.0), s.splat_f32s(0.5));
        let upper = s.select_f32s(s.less_than_f32s(x, s.splat_f32s(3.0)), inner, s.splat_f32s(1.0));
        s.select_f32s(s.greater_than_f32s(x, s.splat_f32s(-3.0)), upper, s.splat_f32s(0.0))
    }
);

/// Evaluates `$body` with `$curve` bound to the [`Curve`] of `$activation`.
macro_rules! with_curve {
    ($activation:expr, $curve:ident => $body:expr) => {{
        use crate::elementwise as e;
        match $activation {
            e::Activation::None => {
                let $curve = e::Identity;
                $body
            }
            e::Activation::Silu => {
                let $curve = e::Silu;
                $body
            }
            e::Activation::Sigmoid => {
                let $curve = e::Sigmoid;
                $body
            }
            e::Activation::Relu => {
                let $curve = e::LeakyRelu(0.0);
                $body
            }
            e::Activation::LeakyRelu(a) => {
                let $curve = e::LeakyRelu(a);
                $body
            }
            e::Activation::Hardswish => {
                let $curve = e::Hardswish;
                $body
            }
        }
    }};
}
pub(super) use with_curve;

/// Elements a thread takes at a time.
pub(super) const CHUNK: usize = 1 << 14;

/// y = f(x)
pub fn activate(f: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths");
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| with_curve!(f, curve => simd::dispatch(Value { curve, x, y })));
}

/// The gradient through an activation of `x`: dx = f′(x)·dy, or dx += f′(x)·dy.
pub fn activate_backward(f: Activation, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    assert!(x.len() == dx.len() && dy.len() == dx.len(), "lengths");
    let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK)
        .zip(inputs)
        .for_each(|(dx, (x, dy))| with_curve!(f, curve => simd::dispatch(Slope { curve, x, dy, dx, accumulate })));
}

/// y = a
pub fn copy(y: &mut [f32], a: &[f32]) {
    assert_eq!(a.len(), y.len(), "lengths");
    y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).for_each(|(y, a)| y.copy_from_slice(a));
}

/// y += a
pub fn add_assign(y: &mut [f32], a: &[f32]) {
    assert_eq!(a.len(), y.len(), "lengths");
    y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).for_each(|(y, a)| add_run(y, a));
}

fn add_run(y: &mut [f32], a: &[f32]) {
    simd::dispatch(|| y.iter_mut().zip(a).for_each(|(y, a)| *y += a));
}

/// Nearest-neighbour upsampling by whole factors: `x` holds `planes` planes of `in_hw`, `y` as many of `in_hw · scale`.
pub fn upsample(planes: usize, in_hw: [usize; 2], scale: [usize; 2], x: &[f32], y: &mut [f32]) {
    let [area, out_width] = [in_hw[0] * in_hw[1], in_hw[1] * scale[1]];
    assert!(x.len() == planes * area && y.len() == x.len() * scale[0] * scale[1], "lengths");
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(area * scale[0] * scale[1]).zip(x.par_chunks(area)).for_each(|(y, x)| {
        for (rows, row) in y.chunks_mut(out_width * scale[0]).zip(x.chunks(in_hw[1])) {
            let (first, others) = rows.split_at_mut(out_width);
            match scale[1] {
                2 => first.as_chunks_mut::<2>().0.iter_mut().zip(row).for_each(|(to, from)| *to = [*from; 2]),
                n => first.chunks_exact_mut(n).zip(row).for_each(|(to, from)| to.fill(*from)),
            }
            others.chunks_exact_mut(out_width).for_each(|row| row.copy_from_slice(first));
        }
    });
}

/// The gradient of [`upsample`]: the sums of `dy` over each input's copies, written to `dx` or added to it.
pub fn upsample_backward(
    planes: usize,
    in_hw: [usize; 2],
    scale: [usize; 2],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) {
    let [area, out_width] = [in_hw[0] * in_hw[1], in_hw[1] * scale[1]];
    assert!(dx.len() == planes * area && dy.len() == dx.len() * scale[0] * scale[1], "lengths");
    if dy.is_empty() {
        return;
    }
    dx.par_chunks_mut(area).zip(dy.par_chunks(area * scale[0] * scale[1])).for_each(|(dx, dy)| {
        for (row, rows) in dx.chunks_mut(in_hw[1]).zip(dy.chunks(out_width * scale[0])) {
            if !accumulate {
                row.fill(0.0);
            }
            for line in rows.chunks_exact(out_width) {
                match scale[1] {
                    2 => row.iter_mut().zip(line.as_chunks::<2>().0).for_each(|(to, [a, b])| *to += a + b),
                    n => {
                        row.iter_mut().zip(line.chunks_exact(n)).for_each(|(to, from)| *to += from.iter().sum::<f32>())
                    }
                }
            }
        }
    });
}

/// A range of channels within images of `channels` channels, from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRange {
    /// Channels of each image.
    pub channels: usize,
    /// First channel of the range.
    pub start: usize,
}

/// Copies `count` channels of every image (`area` floats a channel) from one place to another, or adds them there.
///
/// Concatenation is one such copy for each input, a slice is one; their gradients are the copies back.
pub fn copy_channels(
    area: usize,
    count: usize,
    from: (&[f32], ChannelRange),
    to: (&mut [f32], ChannelRange),
    accumulate: bool,
) {
    let ((source, a), (target, b)) = (from, to);
    assert!(a.start + count <= a.channels && b.start + count <= b.channels, "channel ranges");
    assert_eq!(source.len() * b.channels, target.len() * a.channels, "lengths");
    if source.is_empty() || count == 0 {
        return;
    }
    let images = target.par_chunks_mut(b.channels * area).zip(source.par_chunks(a.channels * area));
    images.for_each(|(target, source)| {
        let target = &mut target[b.start * area..][..count * area];
        let source = &source[a.start * area..][..count * area];
        target
            .par_chunks_mut(CHUNK)
            .zip(source.par_chunks(CHUNK))
            .for_each(|(to, from)| if accumulate { add_run(to, from) } else { to.copy_from_slice(from) });
    });
}

struct Value<'a, C> {
    curve: C,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<C: Curve> WithSimd for Value<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let ((x, x_rest), (y, y_rest)) = (S::as_simd_f32s(self.x), S::as_mut_simd_f32s(self.y));
        for (y, x) in y.iter_mut().zip(x) {
            *y = self.curve.value(s, *x);
        }
        let rest = self.curve.value(s, s.partial_load_f32s(x_rest));
        s.partial_store_f32s(y_rest, rest);
    }
}

struct Slope<'a, C> {
    curve: C,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    accumulate: bool,
}

impl<C: Curve> WithSimd for Slope<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let ((x, x_rest), (dy, dy_rest)) = (S::as_simd_f32s(self.x), S::as_simd_f32s(self.dy));
        let (dx, dx_rest) = S::as_mut_simd_f32s(self.dx);
        let keep = self.accumulate;
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = s.mul_add_e_f32s(self.curve.slope(s, *x), *dy, kept(s, *dx, keep));
        }
        let (x, dy) = (s.partial_load_f32s(x_rest), s.partial_load_f32s(dy_rest));
        let rest = s.mul_add_e_f32s(self.curve.slope(s, x), dy, kept(s, s.partial_load_f32s(dx_rest), keep));
        s.partial_store_f32s(dx_rest, rest);
    }
}

/// The value, or zero.
#[inline(always)]
fn kept<S: Simd>(s: S, value: S::f32s, keep: bool) -> S::f32s {
    if keep { value } else { s.splat_f32s(0.0) }
}
