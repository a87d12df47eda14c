//! The transformations of Winograd's minimal filtering along one side of a square of outputs: F(2, 3) and F(4, 3)
//! (Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>).
//!
//! `OUT` outputs look at `SIDE` = `OUT` + 2 inputs d through a kernel g of three taps, by `SIDE` products instead of
//! 3·`OUT`: Aᵀ·[(G·g) ⊙ (Bᵀ·d)].

use pulp::Simd;

/// The matrices for one size of squares.
pub(super) trait Square<const OUT: usize, const SIDE: usize>: Copy + Send + Sync {
    /// G·g.
    fn kernel<S: Simd>(s: S, g: [S::f32s; 3]) -> [S::f32s; SIDE];

    /// Bᵀ·d.
    fn inputs<S: Simd>(s: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE];

    /// Aᵀ·m.
    fn outputs<S: Simd>(s: S, m: [S::f32s; SIDE]) -> [S::f32s; OUT];
}

/// F(2, 3): 16 products for 2×2 outputs, with additions alone.
#[derive(Clone, Copy)]
pub(super) struct Two;

impl Square<2, 4> for Two {
    #[inline(always)]
    fn kernel<S: Simd>(s: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
        let half = s.splat_f32s(0.5);
        let (sum, difference) = (s.add_f32s(s.add_f32s(a, b), c), s.add_f32s(s.sub_f32s(a, b), c));
        [a, s.mul_f32s(half, sum), s.mul_f32s(half, difference), c]
    }

    #[inline(always)]
    fn inputs<S: Simd>(s: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
        [s.sub_f32s(d[0], d[2]), s.add_f32s(d[1], d[2]), s.sub_f32s(d[2], d[1]), s.sub_f32s(d[1], d[3])]
    }

    #[inline(always)]
    fn outputs<S: Simd>(s: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
        [s.add_f32s(s.add_f32s(m[0], m[1]), m[2]), s.sub_f32s(s.sub_f32s(m[1], m[2]), m[3])]
    }
}

/// F(4, 3): 36 products for 4×4 outputs. Its polynomials are evaluated at 0, ±3/4, ±3/2 and ∞: all constants are exact, and
/// the errors a third of those with ±1 and ±2, three times those of F(2, 3) (points nearer 1 in magnitude amplify less: Barabasz
/// et al. 2020, <https://arxiv.org/abs/1803.10986>).
#[derive(Clone, Copy)]
pub(super) struct Four;

/// The points, and their squares.
const NEAR: f32 = 0.75;
const FAR: f32 = 1.5;
const NEAR2: f32 = NEAR * NEAR;
const FAR2: f32 = FAR * FAR;

impl Square<4, 6> for Four {
    #[inline(always)]
    fn kernel<S: Simd>(s: S, g: [S::f32s; 3]) -> [S::f32s; 6] {
        let [near, minus_near] = values(s, g, NEAR, 2.0 * NEAR2 * (NEAR2 - FAR2));
        let [far, minus_far] = values(s, g, FAR, 2.0 * FAR2 * (FAR2 - NEAR2));
        [s.mul_f32s(g[0], s.splat_f32s(1.0 / (NEAR2 * FAR2))), near, minus_near, far, minus_far, g[2]]
    }

    #[inline(always)]
    fn inputs<S: Simd>(s: S, d: [S::f32s; 6]) -> [S::f32s; 6] {
        let [near, minus_near] = pair(s, d, NEAR, FAR2);
        let [far, minus_far] = pair(s, d, FAR, NEAR2);
        [end(s, [d[0], d[2], d[4]]), near, minus_near, far, minus_far, end(s, [d[1], d[3], d[5]])]
    }

    #[inline(always)]
    fn outputs<S: Simd>(s: S, m: [S::f32s; 6]) -> [S::f32s; 4] {
        let (near, far) = (s.add_f32s(m[1], m[2]), s.add_f32s(m[3], m[4]));
        let (odd_near, odd_far) = (s.sub_f32s(m[1], m[2]), s.sub_f32s(m[3], m[4]));
        [
            s.add_f32s(m[0], s.add_f32s(near, far)),
            add(s, odd_far, FAR, s.mul_f32s(odd_near, s.splat_f32s(NEAR))),
            add(s, far, FAR2, s.mul_f32s(near, s.splat_f32s(NEAR2))),
            add(s, odd_far, FAR * FAR2, add(s, odd_near, NEAR * NEAR2, m[5])),
        ]
    }
}

// Functions instead of closures, which are not always inlined, and then are no vector code.

/// x·factor + sum.
#[inline(always)]
fn add<S: Simd>(s: S, x: S::f32s, factor: f32, sum: S::f32s) -> S::f32s {
    s.mul_add_e_f32s(x, s.splat_f32s(factor), sum)
}

/// The values of g as a polynomial at `point` and −`point`, divided by the product of their distances to the other points.
#[inline(always)]
fn values<S: Simd>(s: S, [a, b, c]: [S::f32s; 3], point: f32, distances: f32) -> [S::f32s; 2] {
    let even = s.mul_f32s(add(s, c, point * point, a), s.splat_f32s(1.0 / distances));
    let odd = s.mul_f32s(b, s.splat_f32s(point / distances));
    [s.add_f32s(even, odd), s.sub_f32s(even, odd)]
}

/// (x² − near²)·(x² − far²) with d for the even powers of x: of the points 0 and ∞.
#[inline(always)]
fn end<S: Simd>(s: S, d: [S::f32s; 3]) -> S::f32s {
    add(s, d[0], NEAR2 * FAR2, add(s, d[1], -(NEAR2 + FAR2), d[2]))
}

/// x·(x ± point)·(x² − other) with d for the powers of x: of the points `point` and −`point`.
#[inline(always)]
fn pair<S: Simd>(s: S, d: [S::f32s; 6], point: f32, other: f32) -> [S::f32s; 2] {
    let even = add(s, d[2], -other, d[4]);
    let odd = s.mul_f32s(s.splat_f32s(point), add(s, d[1], -other, d[3]));
    [s.add_f32s(even, odd), s.sub_f32s(even, odd)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd;
    use pulp::WithSimd;

    /// Some outputs by the transformations, each number in all lanes.
    struct Filtered<T> {
        square: T,
        d: Vec<f32>,
        g: [f32; 3],
    }

    macro_rules! filtered {
        ($square:ty, $out:literal, $side:literal) => {
            impl WithSimd for Filtered<$square> {
                type Output = Vec<f32>;

                #[inline(always)]
                fn with_simd<S: Simd>(self, s: S) -> Vec<f32> {
                    let _ = self.square;
                    let d: [f32; $side] = self.d.try_into().expect("a side of inputs");
                    let inputs = <$square as Square<$out, $side>>::inputs(s, d.map(|d| s.splat_f32s(d)));
                    let kernel = <$square as Square<$out, $side>>::kernel(s, self.g.map(|g| s.splat_f32s(g)));
                    let products = std::array::from_fn(|i| s.mul_f32s(inputs[i], kernel[i]));
                    let first = |vector| s.reduce_max_f32s(vector);
                    <$square as Square<$out, $side>>::outputs(s, products).map(first).to_vec()
                }
            }
        };
    }
    filtered!(Two, 2, 4);
    filtered!(Four, 4, 6);

    #[test]
    fn transformed_products_are_correlations() {
        let g = [0.3, -1.1, 0.7];
        let d: Vec<f32> = (0..6).map(|i| (i * i) as f32 * 0.37 - 2.0).collect();
        let expected: Vec<f32> = (0..4).map(|i| (0..3).map(|t| g[t] * d[i + t]).sum()).collect();
        let close = |found: Vec<f32>| {
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, not {expected:?}");
        };
        close(simd::dispatch(Filtered { square: Two, d: d[..4].to_vec(), g }));
        close(simd::dispatch(Filtered { square: Four, d, g }));
    }
}
