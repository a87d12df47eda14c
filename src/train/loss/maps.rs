//! The head's maps as flat slices, and gradients of the same shapes.

use candle_core::{Device, Result, Storage, Tensor};

/// Output maps on the CPU, contiguous fp32; from another device they are copied.
pub(super) struct Maps {
    tensors: Vec<Tensor>,
    device: Device,
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
        let device = outputs.first().map_or(Device::Cpu, |output| output.device().clone());
        let to_cpu = |output: &Tensor| output.to_device(&Device::Cpu)?.contiguous();
        Ok(Self { tensors: outputs.iter().map(to_cpu).collect::<Result<_>>()?, device })
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
        let guards: Vec<_> = self.tensors.iter().map(Tensor::storage_and_layout).collect();
        let slices = guards.iter().map(|(storage, layout)| match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(storage), Some((start, end))) => Ok(&storage.as_slice::<f32>()?[start..end]),
            _ => candle_core::bail!("a contiguous tensor on the CPU was expected"),
        });
        Ok(work(&slices.collect::<Result<Vec<_>>>()?))
    }

    /// Gradients as tensors of the maps' shapes on the maps' device.
    pub fn gradients(&self, gradients: Vec<Vec<f32>>) -> Result<Vec<Tensor>> {
        let tensor = |(gradient, map): (Vec<f32>, &Tensor)| {
            Tensor::from_vec(gradient, map.dims(), &Device::Cpu)?.to_device(&self.device)
        };
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

/// The logistic function.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Binary cross-entropy of a logit with a target in [0, 1], and its derivative σ(x) − target.
pub(super) fn bce(logit: f32, target: f32) -> (f32, f32) {
    let decay = (-logit.abs()).exp();
    let value = logit.max(0.0) - logit * target + decay.ln_1p();
    let sigmoid = if logit >= 0.0 { 1.0 / (1.0 + decay) } else { decay / (1.0 + decay) };
    (value, sigmoid - target)
}
