//! Sums over slices in vector code, from what is to be done at a single place.

use pulp::{Simd, WithSimd};

use super::simd;

/// Numbers worked on side by side.
pub(crate) const LANES: usize = 16;

/// What is summed at every place; it may change the number there. It is no closure, for those are not always inlined, and
/// then don't become vector code; implementations are to be `#[inline(always)]`.
pub(crate) trait Each {
    fn at(&self, from: [f32; 3], place: &mut f32) -> f32;
}

/// The sum of `each` over the numbers of three slices, and the places of a fourth, of one length.
pub(crate) fn sum(from: [&[f32]; 3], places: &mut [f32], each: impl Each) -> f64 {
    assert!(from.iter().all(|numbers| numbers.len() == places.len()), "lengths");
    simd::dispatch(Sum { from, places, each })
}

struct Sum<'a, E> {
    from: [&'a [f32]; 3],
    places: &'a mut [f32],
    each: E,
}

impl<E: Each> WithSimd for Sum<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        const BLOCK: usize = 64 * LANES;
        let Sum { from: [a, b, c], places, each } = self;
        let mut sum = 0.0;
        let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK)).zip(places.chunks_mut(BLOCK));
        for (((a, b), c), d) in blocks {
            let mut sums = [0.0f32; LANES];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            let ((c, c_rest), (d, d_rest)) = (c.as_chunks::<LANES>(), d.as_chunks_mut::<LANES>());
            for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                for lane in 0..LANES {
                    sums[lane] += each.at([a[lane], b[lane], c[lane]], &mut d[lane]);
                }
            }
            for ((((a, b), c), d), sum) in a_rest.iter().zip(b_rest).zip(c_rest).zip(d_rest).zip(&mut sums) {
                *sum += each.at([*a, *b, *c], d);
            }
            sum += f64::from(sums.iter().sum::<f32>());
        }
        sum
    }
}
