//! The logistic function and its kin: of vectors, without branches or calls, and of single numbers.

use pulp::Simd;

/// e⁻ˣ for x in [-88, 87], to which others are clamped; relative error below 2.5e-7. That of NaN is NaN.
#[inline(always)]
pub fn exp_of_negated<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    s.select_f32s(s.equal_f32s(x, x), exp_of_negated_number(s, x), x)
}

/// [`exp_of_negated`], but of NaN some number: the clamps hide it. For functions that bring it in by themselves.
///
/// Cody and Waite's reduction −x = n·ln 2 − r, then a polynomial of degree 5 in r (minimax on |r| ≤ ln 2 / 2), pairwise,
/// so that few products wait for each other, then n is put into the exponent by integer arithmetic.
#[inline(always)]
fn exp_of_negated_number<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    // 1.5·2²³: adding it rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = s.min_f32s(s.max_f32s(x, s.splat_f32s(-88.0)), s.splat_f32s(87.0));
    let shifted = s.mul_add_e_f32s(x, s.splat_f32s(-std::f32::consts::LOG2_E), s.splat_f32s(ROUND));
    let n = s.sub_f32s(shifted, s.splat_f32s(ROUND));
    let r = s.mul_add_e_f32s(n, s.splat_f32s(0.693_359_4), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-2.121_944_4e-4), r);
    let line = |slope: f32, start: f32| s.mul_add_e_f32s(r, s.splat_f32s(slope), s.splat_f32s(start));
    let square = s.mul_f32s(r, r);
    let power = s.mul_add_e_f32s(line(-8.290_272e-3, 4.189_816e-2), square, line(-0.166_676_39, 0.499_991_48));
    let power = s.mul_add_e_f32s(power, square, line(-0.999_999_7, 1.0));
    let exponent = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(23));
    s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(power), exponent))
}

/// The logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(one, s.add_f32s(one, exp_of_negated(s, x)))
}

/// SiLU, x·σ(x) (Elfwing et al. 2017, <https://arxiv.org/abs/1702.03118>).
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(x, s.add_f32s(one, exp_of_negated_number(s, x)))
}

/// dSiLU/dx = σ(x)·(1 + x·(1 − σ(x))).
#[inline(always)]
pub fn silu_slope<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let g = s.div_f32s(one, s.add_f32s(one, exp_of_negated_number(s, x)));
    s.mul_f32s(g, s.mul_add_e_f32s(x, s.sub_f32s(one, g), one))
}

/// ln(1 + eˣ) and its derivative σ(x).
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::f32s) -> [S::f32s; 2] {
    let [zero, one, two] = [0.0, 1.0, 2.0].map(|number| s.splat_f32s(number));
    let decay = exp_of_negated(s, s.abs_f32s(x));
    let share = s.div_f32s(one, s.add_f32s(one, decay));
    let sigmoid = s.select_f32s(s.less_than_f32s(x, zero), s.mul_f32s(decay, share), share);
    // ln(1 + e) = 2 artanh(e / (2 + e)), whose argument is at most 1/3.
    let ratio = s.div_f32s(decay, s.add_f32s(two, decay));
    let square = s.mul_f32s(ratio, ratio);
    let mut series = s.splat_f32s(2.0 / 13.0);
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = s.mul_add_e_f32s(series, square, s.splat_f32s(2.0 / odd));
    }
    [s.mul_add_e_f32s(ratio, series, s.max_f32s(x, zero)), sigmoid]
}

/// ln(1 + eˣ) of one number.
pub fn softplus_of(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 / (1 + e⁻ˣ) of one number.
pub fn sigmoid_of(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd;
    use pulp::WithSimd;

    #[test]
    fn sigmoids_far_out_and_of_no_number() {
        for (x, expected) in [(-200.0, 0.0), (200.0, 1.0), (0.0, 0.5), (f32::NEG_INFINITY, 0.0), (f32::INFINITY, 1.0)] {
            assert!((super::sigmoid_of(x) - expected).abs() < 1e-7, "{x}");
        }
        assert!(super::sigmoid_of(f32::NAN).is_nan());
    }

    /// Every vector function of numbers, with lanes that are left over.
    struct All<'a>(&'a [f32]);

    impl WithSimd for All<'_> {
        type Output = [Vec<f32>; 6];

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) -> Self::Output {
            let mut found: [Vec<f32>; 6] = Default::default();
            for x in self.0.chunks(S::F32_LANES) {
                let vector = s.partial_load_f32s(x);
                let [softplus, slope] = softplus(s, vector);
                let results = [
                    exp_of_negated(s, vector),
                    sigmoid(s, vector),
                    silu(s, vector),
                    silu_slope(s, vector),
                    softplus,
                    slope,
                ];
                for (found, result) in found.iter_mut().zip(results) {
                    let mut lanes = vec![0.0; x.len()];
                    s.partial_store_f32s(&mut lanes, result);
                    found.extend(lanes);
                }
            }
            found
        }
    }

    #[test]
    fn no_number_stays_none() {
        let x: Vec<f32> = (0..37).map(|i| if i % 3 == 1 { f32::NAN } else { i as f32 - 18.0 }).collect();
        for (function, found) in simd::dispatch(All(&x)).iter().enumerate() {
            for (x, y) in x.iter().zip(found) {
                assert_eq!(x.is_nan(), y.is_nan(), "function {function} of {x} is {y}");
            }
        }
        let [exp, sigmoid, _, _, softplus, slope] = simd::dispatch(All(&[f32::INFINITY, f32::NEG_INFINITY]));
        assert!(exp[0] < 1e-37 && exp[1] > 1e37 && sigmoid[0] == 1.0 && sigmoid[1] < 1e-37);
        assert!(softplus[0] == f32::INFINITY && softplus[1] < 1e-37 && slope[0] == 1.0 && slope[1] < 1e-37);
    }
}
