//! The tile: `R` output channels by `V` vectors of consecutive outputs, all in registers.

use super::dtype::Multiply;
use super::simd;
use pulp::Simd;

/// Vectors side by side in a tile, and output channels, for processors of 16 and of 32 vector registers: the sums, the
/// inputs and one weight must fit.
pub(super) const MOST_VECTORS: [usize; 2] = [2, 3];
pub(super) const MOST_ROWS: [usize; 2] = [6, 8];

/// What a tile needs: its inputs and weights (words, see module `dtype`), and where its sums go (`row` floats from one channel's to the next's).
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub plane: *const f32,
    pub channel: usize,
    pub channels: usize,
    pub offsets: &'a [usize],
    pub weights: *const f32,
    pub sums: *mut f32,
    pub row: usize,
    pub add: bool,
}

/// Computes a tile of `rows` channels by `vectors` vectors, at most [`MOST_ROWS`] by [`MOST_VECTORS`].
///
/// # Safety
/// The input is readable at every channel's every tap for that many vectors, the weights are `rows` for each of those;
/// the sums are that many rows of vectors, ours to write.
#[inline(always)]
pub(super) unsafe fn compute<S: Simd, M: Multiply<S>>(s: S, multiply: M, part: Part, rows: usize, vectors: usize) {
    macro_rules! tiles {
        ($($r:literal x $v:literal)*) => {
            match (rows, vectors) {
                // SAFETY: the caller's promise.
                $(($r, $v) => unsafe { tile::<S, M, $r, $v>(s, multiply, part) },)*
                _ => unreachable!("there is no tile of {rows} channels by {vectors} vectors"),
            }
        };
    }
    if S::REGISTER_COUNT >= 32 {
        tiles!(1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
               1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2
               1 x 3 2 x 3 3 x 3 4 x 3 5 x 3 6 x 3 7 x 3 8 x 3);
    } else {
        tiles!(1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1
               1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2);
    }
}

/// Computes `R` channels by `V` vectors.
///
/// # Safety
/// The input is readable at every channel's every tap for `V` vectors, the weights are `R` for each of those; the sums
/// are `R` rows of `V` vectors.
#[inline(always)]
unsafe fn tile<S: Simd, M: Multiply<S>, const R: usize, const V: usize>(s: S, multiply: M, part: Part) {
    let lanes = S::F32_LANES;
    let mut sums = [[s.splat_f32s(0.0); V]; R];
    let (mut plane, mut w) = (part.plane, part.weights);
    // SAFETY: the caller's promise.
    unsafe {
        for _ in 0..part.channels {
            for &offset in part.offsets {
                let x = plane.add(offset);
                let mut inputs = [s.splat_f32s(0.0); V];
                for v in 0..V {
                    inputs[v] = simd::load(s, x.add(v * lanes));
                }
                for r in 0..R {
                    let weight = s.splat_f32s(*w.add(r));
                    for v in 0..V {
                        sums[r][v] = multiply.multiply_add(s, weight, inputs[v], sums[r][v]);
                    }
                }
                w = w.add(R);
            }
            plane = plane.wrapping_add(part.channel);
        }
        for r in 0..R {
            for v in 0..V {
                let to = part.sums.add(r * part.row + v * lanes);
                let sum = if part.add { s.add_f32s(sums[r][v], simd::load(s, to)) } else { sums[r][v] };
                simd::store(s, to, sum);
            }
        }
    }
}
