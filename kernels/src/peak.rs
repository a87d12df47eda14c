//! The most that the processor can compute, measured.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Simd, WithSimd};

use super::simd;

/// Floating-point operations a second (a multiply-add is two) that the threads of the current pool reach together when
/// nothing leaves the registers: the ceiling for any kernel here. Takes about a fifth of a second.
pub fn flops_per_second() -> f64 {
    (0..ROUNDS).map(|_| rayon::broadcast(|_| one_thread()).iter().sum()).fold(0.0, f64::max)
}

/// The best of so many rounds is the peak; the others were disturbed.
const ROUNDS: usize = 10;

/// Multiply-adds of vectors a chain and round.
const LENGTH: usize = 2_000_000;

/// Chains that do not wait for each other; enough to fill two units of latency 5.
const CHAINS: usize = 10;

fn one_thread() -> f64 {
    let start = Instant::now();
    let operations = simd::dispatch(MultiplyAdds);
    operations as f64 / start.elapsed().as_secs_f64()
}

struct MultiplyAdds;

impl WithSimd for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> usize {
        let (factor, term) = (s.splat_f32s(black_box(0.5)), s.splat_f32s(black_box(1.0)));
        let mut sums = [term; CHAINS];
        for _ in 0..LENGTH {
            for sum in &mut sums {
                *sum = s.mul_add_e_f32s(*sum, factor, term);
            }
        }
        sums.iter().for_each(|&sum| assert!(s.reduce_sum_f32s(sum).is_finite()));
        2 * LENGTH * CHAINS * S::F32_LANES
    }
}
