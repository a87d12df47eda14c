//! The logistic function and its kin, number by number, without branches or calls, so that loops over them become vector
//! code (within [`pulp::Arch::dispatch`]).

/// ln(1 + eˣ) and its derivative σ(x), without branches or calls, so that loops over it become vector code.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> (f32, f32) {
    let decay = exp_of_negative(-x.abs());
    let sigmoid = if x >= 0.0 { 1.0 } else { decay } / (1.0 + decay);
    // ln(1 + e) = 2 artanh(e / (2 + e)), whose argument is at most 1/3.
    let ratio = decay / (2.0 + decay);
    let square = ratio * ratio;
    let mut series = 1.0 / 13.0;
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / odd;
    }
    // The last term is 0, or no number where x is none, which the clamps would hide.
    (x.max(0.0) + 2.0 * ratio * series + 0.0 * x, sigmoid)
}

/// eˣ for x ≤ 0, to about 2e-7: x = n · ln 2 + r (Cody and Waite), a polynomial for eʳ, and n put into the exponent.
#[inline(always)]
pub(crate) fn exp_of_negative(x: f32) -> f32 {
    // 1.5·2²³: adding it rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Not `max`, which would make a number of what is none.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut power = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power * r + coefficient;
    }
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    softplus(x).1
}

#[cfg(test)]
mod tests {
    #[test]
    fn sigmoids_far_out_and_of_no_number() {
        for (x, expected) in [(-200.0, 0.0), (200.0, 1.0), (0.0, 0.5), (f32::NEG_INFINITY, 0.0), (f32::INFINITY, 1.0)] {
            assert!((super::sigmoid(x) - expected).abs() < 1e-7, "{x}");
        }
        assert!(super::sigmoid(f32::NAN).is_nan());
    }
}
