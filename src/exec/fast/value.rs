//! Values while a graph runs.

use candle_core::{Device, Result, Tensor};

use espalier_kernels::scratch::{self, Scratch};

use crate::{
    exec::numbers::{self, Numbers},
    graph::{Graph, NodeId, Shape},
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

    /// A value that is there already.
    pub(super) fn of(shape: Shape, tensor: &Tensor) -> Result<Self> {
        let value = Self { shape, data: Data::Shared(tensor.contiguous()?) };
        value.numbers()?;
        Ok(value)
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

    /// The tensor that others see.
    ///
    /// # Errors
    /// Where the value is in a buffer of the run's own.
    pub(super) fn shared(&self) -> Result<&Tensor> {
        self.tensor().ok_or_else(|| candle_core::Error::Msg("a value that is to be seen is in no tensor".into()))
    }

    /// The tensor that others see, if there is one.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        match &self.data {
            Data::Own(_) => None,
            Data::Shared(tensor) => Some(tensor),
        }
    }
}

/// The values of a node's inputs, in order.
///
/// # Errors
/// Where one was not computed or not kept.
pub(super) fn inputs<'v>(graph: &Graph, values: &'v [Option<Value>], id: NodeId) -> Result<Vec<&'v Value>> {
    graph.node(id).inputs.iter().map(|&input| value(graph, values, input)).collect()
}

/// A node's value.
///
/// # Errors
/// Where it was not computed or not kept.
pub(super) fn value<'v>(graph: &Graph, values: &'v [Option<Value>], id: NodeId) -> Result<&'v Value> {
    let missing = || candle_core::Error::Msg(format!("the value of `{}` is not there", graph.node(id).name));
    values[id].as_ref().ok_or_else(missing)
}
