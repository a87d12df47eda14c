//! A square convolution at stride 1 that candle's autograd can differentiate and that runs on our kernels.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use espalier_kernels::conv::{self, ConvShape, Epilogue};

use crate::exec::{ComputeDtype, numbers::with_numbers};

/// The convolution of features (n, in, h, w) with a weight (out, in, k, k), k odd, that keeps their size.
pub(super) fn convolve(features: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if features.device().is_cpu() {
        return features.contiguous()?.apply_op2(&weight.contiguous()?, Convolve);
    }
    features.contiguous()?.conv2d(weight, weight.dim(2)? / 2, 1, 1, 1)
}

/// Such a convolution of so many images.
pub(super) fn shape(batch: usize, [from, to]: [usize; 2], in_hw: [usize; 2], kernel: usize) -> ConvShape {
    ConvShape {
        dtype: ComputeDtype::Fp32,
        batch,
        in_channels: from,
        out_channels: to,
        in_hw,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [kernel / 2; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

struct Convolve;

fn shape_of(features: &Shape, weight: &Shape) -> Result<ConvShape> {
    let ((batch, channels, height, width), (out, _, kernel, _)) = (features.dims4()?, weight.dims4()?);
    Ok(shape(batch, [channels, out], [height, width], kernel))
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => candle_core::bail!("expected contiguous fp32 numbers"),
    }
}

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        "convolve"
    }

    fn cpu_fwd(
        &self,
        features: &CpuStorage,
        of_features: &Layout,
        weight: &CpuStorage,
        of_weight: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = shape_of(of_features.shape(), of_weight.shape())?;
        let mut result = vec![0.0; shape.output_len()];
        let (features, weight) = (numbers(features, of_features)?, numbers(weight, of_weight)?);
        conv::forward(&shape, &shape.whole(features), weight, Epilogue::None, &mut result);
        let [height, width] = shape.out_hw();
        Ok((CpuStorage::F32(result), Shape::from((shape.batch, shape.out_channels, height, width))))
    }

    fn bwd(
        &self,
        features: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = shape_of(features.shape(), weight.shape())?;
        let (mut of_features, mut of_weight) = (vec![0.0; shape.input_len()], vec![0.0; shape.weight_len()]);
        with_numbers(gradient, |gradient| {
            with_numbers(weight, |weight| conv::backward_data(&shape, gradient, weight, &mut of_features, false))?;
            with_numbers(features, |features| {
                conv::backward_weight(&shape, &shape.whole(features), gradient, &mut of_weight);
            })
        })??;
        let tensor = |numbers, like: &Tensor| Tensor::from_vec(numbers, like.dims(), like.device()).map(Some);
        Ok((tensor(of_features, features)?, tensor(of_weight, weight)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn wave(dims: &[usize], phase: f32) -> Tensor {
        let numbers: Vec<f32> = (0..dims.iter().product()).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
    }

    /// Values and both gradients are those of candle's own convolution.
    #[test]
    fn is_that_of_candle() {
        for kernel in [1, 3] {
            let features = Var::from_tensor(&wave(&[2, 3, 5, 4], 0.1)).unwrap();
            let weight = Var::from_tensor(&wave(&[4, 3, kernel, kernel], 0.9)).unwrap();
            let weights = wave(&[2, 4, 5, 4], 2.0);
            let run = |convolved: Tensor| {
                let store = (&convolved * &weights).unwrap().sum_all().unwrap().backward().unwrap();
                [convolved, store.get(&features).unwrap().clone(), store.get(&weight).unwrap().clone()]
            };
            let own = run(convolve(&features, &weight).unwrap());
            let candle = run(features.conv2d(&weight, kernel / 2, 1, 1, 1).unwrap());
            for (own, candle) in own.iter().zip(&candle) {
                let apart = (own - candle).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(own.dims() == candle.dims() && apart < 1e-5, "kernel {kernel}: {apart}");
            }
        }
    }
}
