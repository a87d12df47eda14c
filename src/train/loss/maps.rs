//! The head's maps as flat slices, and gradients of the same shapes.

use candle_core::{Device, Result, Tensor};
use espalier_kernels::{
    lanes::{Each, sum},
    logistic::{sigmoid_of, softplus, softplus_of},
};
use pulp::Simd;

use crate::exec::{numbers::Numbers, transfer};

/// Output maps on the CPU, contiguous fp32; from another device they are copied.
pub(super) struct Maps {
    tensors: Vec<Tensor>,
}

/// Extent of one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Extent {
    /// Cells of one channel.
    pub fn cells(&self) -> usize {
        self.height * self.width
    }

    /// Numbers of one image.
    pub fn per_image(&self) -> usize {
        self.channels * self.cells()
    }
}

impl Maps {
    pub fn new(outputs: &[Tensor]) -> Result<Self> {
        let here = outputs.iter().all(|output| output.device().is_cpu());
        let tensors = match here {
            true => outputs.iter().map(Tensor::contiguous).collect::<Result<_>>()?,
            false => transfer::down(outputs)?,
        };
        Ok(Self { tensors })
    }

    pub fn extents(&self) -> Result<Vec<Extent>> {
        let extent = |tensor: &Tensor| {
            let (batch, channels, height, width) = tensor.dims4()?;
            Ok(Extent { batch, channels, height, width })
        };
        self.tensors.iter().map(extent).collect()
    }

    /// Calls `work` with the numbers of every map, without copying them.
    pub fn with_slices<T>(&self, work: impl FnOnce(&[&[f32]]) -> T) -> Result<T> {
        let numbers = self.tensors.iter().map(Numbers::of).collect::<Result<Vec<_>>>()?;
        Ok(work(&numbers.iter().map(|numbers| &**numbers).collect::<Vec<_>>()))
    }

    /// Gradients as tensors of the maps' shapes on the CPU.
    pub fn gradients(&self, gradients: Vec<Vec<f32>>) -> Result<Vec<Tensor>> {
        let tensor = |(gradient, map): (Vec<f32>, &Tensor)| Tensor::from_vec(gradient, map.dims(), &Device::Cpu);
        gradients.into_iter().zip(&self.tensors).map(tensor).collect()
    }
}

/// For every image, its part of each of the buffers, to be written in parallel.
pub(super) fn by_image<'a>(buffers: &'a mut [Vec<f32>], extents: &[Extent], batch: usize) -> Vec<Vec<&'a mut [f32]>> {
    let mut images: Vec<Vec<&mut [f32]>> = (0..batch).map(|_| Vec::with_capacity(buffers.len())).collect();
    for (buffer, extent) in buffers.iter_mut().zip(extents) {
        for (image, part) in images.iter_mut().zip(buffer.chunks_exact_mut(extent.per_image().max(1))) {
            image.push(part);
        }
    }
    images
}

/// Binary cross-entropy of a logit with a target in [0, 1], and its derivative σ(x) − target.
pub(super) fn bce(logit: f32, target: f32) -> (f32, f32) {
    (softplus_of(logit) - logit * target, sigmoid_of(logit) - target)
}

/// Binary cross-entropy of many logits with the target 0: gives the sum, writes `scale` · σ(x) as gradient. Most of a
/// detector's maps is background, so losses run this over whole maps and then correct the few other places: a target t
/// takes t · x from the loss and `scale` · t from the gradient.
pub(super) fn background(logits: &[f32], scale: f32, gradient: &mut [f32]) -> f64 {
    sum([logits], gradient, Background { scale })
}

#[derive(Clone, Copy)]
struct Background {
    scale: f32,
}

impl Each<1> for Background {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, [logit]: [S::f32s; 1], _: S::f32s) -> [S::f32s; 2] {
        let [value, slope] = softplus(s, logit);
        [s.mul_f32s(slope, s.splat_f32s(self.scale)), value]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_is_accurate_over_the_whole_range() {
        let logits: Vec<f32> = (-4000..=4000).map(|step| step as f32 / 40.0).collect();
        let mut slopes = vec![0.0; logits.len()];
        background(&logits, 1.0, &mut slopes);
        for (&x, slope) in logits.iter().zip(slopes) {
            let exact = f64::from(x);
            let softplus = exact.max(0.0) + (-exact.abs()).exp().ln_1p();
            let near = |found: f64, expected: f64| (found - expected).abs() < 1e-6 * expected.abs().max(0.1);
            let (value, alone) = bce(x, 0.25);
            assert!(near(value.into(), softplus - exact * 0.25), "{x}: {value}");
            let value = background(&[x], 1.0, &mut [0.0]);
            assert!(near(value, softplus), "{x}: {value}");
            let sigmoid = 1.0 / (1.0 + (-exact).exp());
            for slope in [slope, alone + 0.25] {
                assert!((f64::from(slope) - sigmoid).abs() < 5e-7, "{x}: {slope} against {sigmoid}");
            }
        }
        assert!(bce(f32::NAN, 0.0).0.is_nan() && bce(f32::INFINITY, 1.0).0.is_nan());
        assert!(background(&[0.0, f32::NAN], 1.0, &mut [0.0; 2]).is_nan());
    }

    #[test]
    fn background_is_the_sum_of_its_places() {
        let logits: Vec<f32> = (0..2085).map(|index| (index % 97) as f32 / 7.0 - 6.0).collect();
        let mut gradient = vec![0.0; logits.len()];
        let sum = background(&logits, 0.5, &mut gradient);
        let expected: f64 = logits.iter().map(|&logit| f64::from(bce(logit, 0.0).0)).sum();
        assert!((sum - expected).abs() < 1e-5 * expected, "{sum} against {expected}");
        assert!(logits.iter().zip(&gradient).all(|(&logit, &slope)| (slope - 0.5 * bce(logit, 0.0).1).abs() < 1e-6));
    }
}
