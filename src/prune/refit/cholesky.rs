//! Cholesky's decomposition of symmetric positive definite matrices.

use rayon::prelude::*;

/// The lower triangle L with L·Lᵀ = A.
pub(super) struct Cholesky {
    size: usize,
    /// Row by row; what is above the diagonal does not count.
    lower: Vec<f64>,
}

impl Cholesky {
    /// Decomposes a matrix of `size` rows, given row by row, of which the lower triangle counts. `None` where it is not
    /// positive definite or not finite.
    pub(super) fn of(mut matrix: Vec<f64>, size: usize) -> Option<Self> {
        for column in 0..size {
            let (above, below) = matrix.split_at_mut((column + 1) * size);
            let pivots = &mut above[column * size..];
            let pivot = pivots[column] - dot(&pivots[..column], &pivots[..column]);
            if !pivot.is_finite() || pivot <= 0.0 {
                return None;
            }
            let pivot = pivot.sqrt();
            pivots[column] = pivot;
            let eliminate =
                |row: &mut [f64]| row[column] = (row[column] - dot(&row[..column], &pivots[..column])) / pivot;
            // Short columns are not worth a thread.
            if column * (size - column) < 1 << 14 {
                below.chunks_exact_mut(size).for_each(eliminate);
            } else {
                below.par_chunks_exact_mut(size).with_min_len(16).for_each(eliminate);
            }
        }
        Some(Self { size, lower: matrix })
    }

    /// Solves A·x = b in place, for any number of right-hand sides, one after another.
    pub(super) fn solve(&self, sides: &mut [f64]) {
        sides.par_chunks_exact_mut(self.size).for_each(|side| self.solve_one(side));
    }

    fn solve_one(&self, side: &mut [f64]) {
        let row = |index: usize| &self.lower[index * self.size..][..=index];
        for index in 0..self.size {
            let (row, known) = (row(index), &side[..index]);
            side[index] = (side[index] - dot(&row[..index], known)) / row[index];
        }
        for index in (0..self.size).rev() {
            let row = row(index);
            side[index] /= row[index];
            let value = side[index];
            side[..index].iter_mut().zip(row).for_each(|(other, factor)| *other -= factor * value);
        }
    }
}

/// Σ aᵢ·bᵢ, in eight sums that do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (blocks, others) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = blocks.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in blocks.zip(others) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_what_it_decomposed() {
        for size in [1, 3, 20, 150] {
            // B·Bᵀ + I of a B without structure.
            let mut state = 1u32;
            let mut number = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from(state >> 8) / f64::from(1 << 24) - 0.5
            };
            let b: Vec<f64> = (0..size * size).map(|_| number()).collect();
            let entry = |row: usize, column: usize| {
                let product: f64 = (0..size).map(|k| b[row * size + k] * b[column * size + k]).sum();
                product + f64::from(row == column)
            };
            let matrix: Vec<f64> = (0..size * size).map(|at| entry(at / size, at % size)).collect();
            let wanted: Vec<f64> = (0..2 * size).map(|_| number()).collect();
            let times = |x: &[f64]| (0..size).map(|row| dot(&matrix[row * size..][..size], x)).collect::<Vec<_>>();
            let mut sides: Vec<f64> = wanted.chunks(size).flat_map(times).collect();
            Cholesky::of(matrix.clone(), size).unwrap().solve(&mut sides);
            for (found, wanted) in sides.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-9, "{size}: {found} {wanted}");
            }
        }
        assert!(Cholesky::of(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::of(vec![f64::NAN], 1).is_none());
    }
}
