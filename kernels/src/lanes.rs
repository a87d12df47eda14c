//! Sums over slices in vector code, from what is to be done at a single place.

use pulp::{Simd, WithSimd};

use super::simd;

/// What is summed at every place; it may change the number there. It is no closure, for those are not always inlined, and
/// then don't become vector code; implementations are to be `#[inline(always)]`.
pub trait Each<const N: usize>: Copy {
    /// The place's new number, and what is summed.
    fn at<S: Simd>(self, s: S, from: [S::f32s; N], place: S::f32s) -> [S::f32s; 2];
}

/// The sum of `each` over the numbers of some slices, and the places of another, of one length.
pub fn sum<const N: usize>(from: [&[f32]; N], places: &mut [f32], each: impl Each<N>) -> f64 {
    assert!(from.iter().all(|numbers| numbers.len() == places.len()), "lengths");
    simd::dispatch(Sum { from, places, each })
}

struct Sum<'a, const N: usize, E> {
    from: [&'a [f32]; N],
    places: &'a mut [f32],
    each: E,
}

impl<const N: usize, E: Each<N>> WithSimd for Sum<'_, N, E> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f64 {
        // So many numbers are summed in fp32.
        const BLOCK: usize = 1024;
        let Sum { from, places, each } = self;
        let mut total = 0.0;
        for (block, places) in places.chunks_mut(BLOCK).enumerate() {
            let from = from.map(|numbers| S::as_simd_f32s(&numbers[block * BLOCK..][..places.len()]));
            let (vectors, rest) = S::as_mut_simd_f32s(places);
            let whole = from.map(|(whole, _)| &whole[..vectors.len()]);
            let mut sums = s.splat_f32s(0.0);
            for (index, place) in vectors.iter_mut().enumerate() {
                let [new, summed] = each.at(s, whole.map(|vectors| vectors[index]), *place);
                *place = new;
                sums = s.add_f32s(sums, summed);
            }
            total += f64::from(s.reduce_sum_f32s(sums));
            if !rest.is_empty() {
                let from = from.map(|(_, rest)| s.partial_load_f32s(rest));
                let [new, summed] = each.at(s, from, s.partial_load_f32s(rest));
                s.partial_store_f32s(rest, new);
                // Only those of the places that there are.
                let mut last = [0.0; WIDEST];
                s.partial_store_f32s(&mut last[..rest.len()], summed);
                total += f64::from(last.iter().sum::<f32>());
            }
        }
        total
    }
}

/// Numbers of the widest vectors.
pub const WIDEST: usize = 16;
