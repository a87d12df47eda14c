//! The most that the processor can compute, measured.

use std::hint::black_box;
use std::time::Instant;

use pulp::Simd;

use super::dtype::{self, ComputeDtype, Multiply, WithProducts};

/// Floating-point operations a second (a multiply-add is two) on such numbers that the threads of the current pool reach
/// together when nothing leaves the registers: the ceiling for any kernel here. Takes about a fifth of a second.
pub fn flops_per_second(dtype: ComputeDtype) -> f64 {
    (0..ROUNDS).map(|_| rayon::broadcast(|_| one_thread(dtype)).iter().sum()).fold(0.0, f64::max)
}

/// The best of so many rounds is the peak; the others were disturbed.
const ROUNDS: usize = 10;

/// Multiply-adds of vectors a chain and round.
const LENGTH: usize = 2_000_000;

/// Chains that do not wait for each other; enough to fill two units of latency 5.
const CHAINS: usize = 10;

fn one_thread(dtype: ComputeDtype) -> f64 {
    let start = Instant::now();
    let operations = dtype::dispatch(dtype, MultiplyAdds);
    operations as f64 / start.elapsed().as_secs_f64()
}

struct MultiplyAdds;

impl WithProducts for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn with_products<S: Simd, M: Multiply<S>>(self, s: S, multiply: M) -> usize {
        // A word of one half, or of two.
        let half = if M::NUMBERS == 1 { 0.5 } else { dtype::word(0.5, 0.5) };
        let (factor, mut sums) = (s.splat_f32s(black_box(half)), [s.splat_f32s(black_box(1.0)); CHAINS]);
        for _ in 0..LENGTH {
            for sum in &mut sums {
                *sum = multiply.multiply_add(s, factor, factor, *sum);
            }
        }
        sums.iter().for_each(|&sum| assert!(s.reduce_sum_f32s(sum).is_finite()));
        2 * LENGTH * CHAINS * S::F32_LANES * M::NUMBERS
    }
}
