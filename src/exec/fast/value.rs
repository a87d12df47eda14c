//! Values while a graph runs.

use candle_core::{Device, Result, Tensor};

use espalier_kernels::scratch::{self, Scratch};

use crate::{
    exec::{
        numbers::{self, Numbers},
        values::RunValue,
    },
    graph::Shape,
};

/// A value while the graph runs: channels and size, and (n, c, h, w) numbers.
pub(super) struct Value {
    pub(super) shape: Shape,
    data: Data,
}

enum Data {
    /// In a reused buffer.
    Own(Scratch),
    /// In a tensor that others see too: images, outputs, taps.
    Shared(Tensor),
}

impl Value {
    /// A value that `fill` writes, in a tensor if others are to see it.
    pub(super) fn compute(
        shape: Shape,
        batch: usize,
        shared: bool,
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<Self> {
        let Shape { channels, height, width } = shape;
        let len = batch * channels * height * width;
        let data = if shared {
            let mut numbers = numbers::zeros(len);
            fill(&mut numbers)?;
            Data::Shared(Tensor::from_vec(numbers, (batch, channels, height, width), &Device::Cpu)?)
        } else {
            let mut buffer = scratch::take(len);
            fill(&mut buffer)?;
            Data::Own(buffer)
        };
        Ok(Self { shape, data })
    }

    pub(super) fn area(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// All its numbers.
    pub(super) fn numbers(&self) -> Result<Numbers<'_>> {
        match &self.data {
            Data::Own(buffer) => Ok(Numbers::Slice(buffer)),
            Data::Shared(tensor) => Numbers::of(tensor),
        }
    }
}

impl RunValue for Value {
    fn of(shape: Shape, tensor: &Tensor) -> Result<Self> {
        let value = Self { shape, data: Data::Shared(tensor.contiguous()?) };
        value.numbers()?;
        Ok(value)
    }

    fn tensor(&self) -> Option<&Tensor> {
        match &self.data {
            Data::Own(_) => None,
            Data::Shared(tensor) => Some(tensor),
        }
    }
}
