//! Normal equations of a convolution: which weights map what flows in nearest to what should flow out.

use candle_core::{DType, Device, Result, Tensor};

use super::cholesky::Cholesky;
use crate::graph::Conv;

/// Σ x·xᵀ, Σ y·xᵀ and the means, over all output positions of all images: x is what a filter looks at there, y what the
/// filters should give.
pub(super) struct Normal {
    /// Numbers a filter looks at.
    size: usize,
    gram: Vec<f64>,
    cross: Vec<f64>,
    inputs: Vec<f64>,
    outputs: Vec<f64>,
    count: f64,
}

/// The weights that were found, and what is added to what they give.
pub(super) struct Solution {
    /// Filters, one after another.
    pub(super) weights: Vec<f64>,
    /// One a filter.
    pub(super) intercepts: Vec<f64>,
}

impl Normal {
    /// Nothing seen yet, of `filters` filters that look at `size` numbers each.
    pub(super) fn new(size: usize, filters: usize) -> Self {
        let zeros = |count| vec![0.0; count];
        Self {
            size,
            gram: zeros(size * size),
            cross: zeros(filters * size),
            inputs: zeros(size),
            outputs: zeros(filters),
            count: 0.0,
        }
    }

    /// Counts in what an ungrouped convolution read, (1, channels, h, w), and what it should have given, (1, filters, h, w).
    pub(super) fn add(&mut self, conv: &Conv, input: &Tensor, output: &Tensor) -> Result<()> {
        let filters = self.outputs.len();
        // Single precision would not tell nearly dependent inputs apart.
        let exact = |tensor: Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.contiguous();
        let (x, y) = (exact(columns(conv, input, output)?)?, exact(output.reshape((filters, ()))?)?);
        let across = x.t()?;
        accumulate(&mut self.gram, &x.matmul(&across)?)?;
        accumulate(&mut self.cross, &y.matmul(&across)?)?;
        accumulate(&mut self.inputs, &x.sum(1)?)?;
        accumulate(&mut self.outputs, &y.sum(1)?)?;
        self.count += y.dim(1)? as f64;
        Ok(())
    }

    /// The weights W and intercepts b of least Σ ‖W·x + b − y‖² + λ·‖W − W₀‖², where λ is `ridge` times the mean of the
    /// diagonal of Σ x·xᵀ and W₀ are the weights so far; without `intercept`, b is 0. `None` where there is no such.
    pub(super) fn solve(self, so_far: &[f32], ridge: f64, intercept: bool) -> Option<Solution> {
        let Self { size, mut gram, mut cross, inputs, outputs, count } = self;
        if intercept {
            for (row, &x) in gram.chunks_exact_mut(size).zip(&inputs) {
                row.iter_mut().zip(&inputs).for_each(|(entry, other)| *entry -= x * other / count);
            }
            for (row, &y) in cross.chunks_exact_mut(size).zip(&outputs) {
                row.iter_mut().zip(&inputs).for_each(|(entry, x)| *entry -= y * x / count);
            }
        }
        // What the change of the weights is to explain: y·xᵀ − W₀·x·xᵀ.
        for (row, filter) in cross.chunks_exact_mut(size).zip(so_far.chunks_exact(size)) {
            for (&weight, products) in filter.iter().zip(gram.chunks_exact(size)) {
                let weight = f64::from(weight);
                row.iter_mut().zip(products).for_each(|(entry, product)| *entry -= weight * product);
            }
        }
        let mean = (0..size).map(|index| gram[index * size + index]).sum::<f64>() / size as f64;
        if mean == 0.0 {
            // Nothing flows in, so nothing is to be said of the weights.
            cross.fill(0.0);
        } else {
            (0..size).for_each(|index| gram[index * size + index] += ridge * mean);
            Cholesky::of(gram, size)?.solve(&mut cross);
        }
        let weights: Vec<f64> = cross.iter().zip(so_far).map(|(change, &weight)| f64::from(weight) + change).collect();
        let given = |filter: &[f64]| filter.iter().zip(&inputs).map(|(weight, x)| weight * x).sum::<f64>();
        let intercepts = weights.chunks_exact(size).zip(&outputs).map(|(filter, y)| (y - given(filter)) / count);
        let intercepts: Vec<f64> = if intercept { intercepts.collect() } else { vec![0.0; outputs.len()] };
        let finite = weights.iter().chain(&intercepts).all(|number| number.is_finite());
        finite.then_some(Solution { weights, intercepts })
    }
}

/// What a filter looks at, a column for each output position: (channels · kernel height · kernel width, positions of the output).
fn columns(conv: &Conv, input: &Tensor, output: &Tensor) -> Result<Tensor> {
    let (_, channels, _, _) = input.dims4()?;
    let (_, _, height, width) = output.dims4()?;
    let Conv { kernel: [rows, across], stride: [down, right], padding, dilation, .. } = *conv;
    // Enough behind the image for every tap to be cut out in whole strides.
    let padded = input.pad_with_zeros(2, padding[0], padding[0] + down)?;
    let padded = padded.pad_with_zeros(3, padding[1], padding[1] + right)?;
    let taps = (0..rows * across).map(|tap| {
        let (row, column) = (tap / across * dilation[0], tap % across * dilation[1]);
        let cut = padded.narrow(2, row, height * down)?.narrow(3, column, width * right)?.contiguous()?;
        let strides = cut.reshape((channels, height, down, width, right))?;
        strides.narrow(2, 0, 1)?.narrow(4, 0, 1)?.reshape((channels, ()))
    });
    let taps = taps.collect::<Result<Vec<Tensor>>>()?;
    Tensor::stack(&taps, 1)?.reshape((channels * taps.len(), ()))
}

fn accumulate(sums: &mut [f64], values: &Tensor) -> Result<()> {
    let values = values.flatten_all()?.to_vec1::<f64>()?;
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_found_from_what_it_gives() -> Result<()> {
        for (kernel, stride, size) in [(1, 1, 9), (3, 1, 8), (3, 2, 9), (6, 2, 12), (3, 2, 8)] {
            let conv = Conv::same(3, 4, kernel, stride);
            let weight = Tensor::randn(0f32, 1.0, conv.weight_shape().to_vec(), &Device::Cpu)?;
            let mut normal = Normal::new(3 * kernel * kernel, 4);
            for _ in 0..12 {
                let input = Tensor::randn(0.3f32, 1.0, (1, 3, size, size), &Device::Cpu)?;
                let output = input.conv2d(&weight, conv.padding[0], stride, 1, 1)?.affine(1.0, 0.7)?;
                normal.add(&conv, &input, &output)?;
            }
            let start = vec![0.5; 12 * kernel * kernel];
            let found = normal.solve(&start, 1e-9, true).unwrap();
            let weight = weight.flatten_all()?.to_vec1::<f32>()?;
            for (found, wanted) in found.weights.iter().zip(&weight) {
                assert!((found - f64::from(*wanted)).abs() < 1e-3, "{kernel} {stride}: {found} {wanted}");
            }
            assert!(found.intercepts.iter().all(|found| (found - 0.7).abs() < 1e-3), "{:?}", found.intercepts);
        }
        Ok(())
    }

    #[test]
    fn an_endless_ridge_leaves_the_weights() -> Result<()> {
        let conv = Conv::same(2, 1, 1, 1);
        let mut normal = Normal::new(2, 1);
        let input = Tensor::randn(0f32, 1.0, (1, 2, 5, 5), &Device::Cpu)?;
        normal.add(&conv, &input, &input.narrow(1, 0, 1)?)?;
        let found = normal.solve(&[3.0, -2.0], 1e9, false).unwrap();
        assert!((found.weights[0] - 3.0).abs() < 1e-6 && (found.weights[1] + 2.0).abs() < 1e-6);
        assert_eq!(found.intercepts, [0.0]);
        let mut dead = Normal::new(2, 1);
        dead.add(&conv, &input.zeros_like()?, &input.narrow(1, 0, 1)?.affine(0.0, 0.5)?)?;
        let found = dead.solve(&[1.0, 2.0], 0.1, true).unwrap();
        assert!(found.weights == [1.0, 2.0] && (found.intercepts[0] - 0.5).abs() < 1e-9);
        let mut broken = Normal::new(2, 1);
        broken.add(&conv, &input.affine(f64::NAN, 0.0)?, &input.narrow(1, 0, 1)?)?;
        assert!(broken.solve(&[1.0, 1.0], 0.1, true).is_none());
        Ok(())
    }
}
