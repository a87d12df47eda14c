//! Values while a graph runs.

use std::{ops::Range, sync::Arc};

use candle_core::{Device, Result, Tensor};
use espalier_kernels::{
    channels::{Channels, Part},
    scratch::{self, Scratch},
};

use crate::{
    exec::{
        numbers::{self, Numbers},
        values::RunValue,
    },
    graph::Shape,
};

/// A value while the graph runs, (n, c, h, w): channels of one or several buffers, which other values may share. So a
/// concatenation and a slice cost nothing.
pub(super) struct Value {
    pub(super) shape: Shape,
    batch: usize,
    parts: Vec<Piece>,
}

/// Some channels of a buffer.
#[derive(Clone)]
struct Piece {
    data: Arc<Data>,
    /// Channels of an image there.
    channels: usize,
    taken: Range<usize>,
}

enum Data {
    /// A reused buffer.
    Own(Scratch),
    /// A tensor that others see too: images, outputs, taps.
    Shared(Tensor),
}

impl Value {
    fn whole(shape: Shape, batch: usize, data: Data) -> Self {
        let channels = shape.channels;
        Self { shape, batch, parts: vec![Piece { data: Arc::new(data), channels, taken: 0..channels }] }
    }

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
        Ok(Self::whole(shape, batch, data))
    }

    /// The channels of all values, one after another; they are images of one size.
    pub(super) fn concatenated(values: &[&Self]) -> Self {
        let (shape, batch) = (values[0].shape, values[0].batch);
        let mut parts: Vec<Piece> = Vec::new();
        for part in values.iter().flat_map(|value| &value.parts) {
            match parts.last_mut() {
                Some(last) if Arc::ptr_eq(&last.data, &part.data) && last.taken.end == part.taken.start => {
                    last.taken.end = part.taken.end;
                }
                _ => parts.push(part.clone()),
            }
        }
        let channels = parts.iter().map(|part| part.taken.len()).sum();
        Self { shape: Shape { channels, ..shape }, batch, parts }
    }

    /// Some of its channels.
    pub(super) fn sliced(&self, wanted: Range<usize>) -> Self {
        let mut parts = Vec::new();
        let mut before = 0;
        for part in &self.parts {
            let len = part.taken.len();
            let [start, end] = [wanted.start, wanted.end].map(|at| at.saturating_sub(before).min(len));
            if start < end {
                parts.push(Piece { taken: part.taken.start + start..part.taken.start + end, ..part.clone() });
            }
            before += len;
        }
        Self { shape: Shape { channels: wanted.len(), ..self.shape }, batch: self.batch, parts }
    }

    pub(super) fn area(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// Hands its channels to `read`, where they are.
    ///
    /// # Errors
    /// Where a tensor's numbers cannot be read.
    pub(super) fn with_channels<R>(&self, read: impl FnOnce(&Channels) -> R) -> Result<R> {
        let numbers = self.parts.iter().map(|part| part.data.numbers()).collect::<Result<Vec<_>>>()?;
        let parts = self.parts.iter().zip(&numbers).map(|(part, numbers)| Part {
            numbers,
            channels: part.channels,
            taken: part.taken.clone(),
        });
        Ok(read(&Channels::new(parts.collect(), self.batch, self.area())))
    }

    /// Hands its numbers to `read`: copied where they are not in one place.
    ///
    /// # Errors
    /// Where a tensor's numbers cannot be read.
    pub(super) fn with_numbers<R>(&self, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
        self.with_channels(|channels| match channels.as_one() {
            Some(numbers) => read(numbers),
            None => {
                let mut together = scratch::take(self.batch * self.shape.channels * self.area());
                channels.copy_to(&mut together);
                read(&together)
            }
        })
    }
}

impl Data {
    fn numbers(&self) -> Result<Numbers<'_>> {
        match self {
            Data::Own(buffer) => Ok(Numbers::Slice(buffer)),
            Data::Shared(tensor) => Numbers::of(tensor),
        }
    }
}

impl RunValue for Value {
    fn of(shape: Shape, tensor: &Tensor) -> Result<Self> {
        let value = Self::whole(shape, tensor.dim(0)?, Data::Shared(tensor.contiguous()?));
        value.with_channels(|_| ())?;
        Ok(value)
    }

    fn tensor(&self) -> Option<&Tensor> {
        match &self.parts[..] {
            [Piece { data, channels, taken }] if taken.len() == *channels => match &**data {
                Data::Own(_) => None,
                Data::Shared(tensor) => Some(tensor),
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_and_cut_values_read_as_if_copied() {
        let value = |channels, start: usize| {
            let shape = Shape { channels, height: 1, width: 3 };
            Value::compute(shape, 2, false, |numbers| {
                (start..).zip(numbers).for_each(|(count, number)| *number = count as f32);
                Ok(())
            })
        };
        let read =
            |value: &Value| value.with_numbers(|numbers| numbers.iter().map(|n| *n as usize).collect::<Vec<_>>());
        let (a, b) = (value(2, 0).unwrap(), value(1, 100).unwrap());
        let both = Value::concatenated(&[&a, &b]);
        assert_eq!(read(&both).unwrap(), [0, 1, 2, 3, 4, 5, 100, 101, 102, 6, 7, 8, 9, 10, 11, 103, 104, 105]);
        let cut = both.sliced(1..3);
        assert_eq!(read(&cut).unwrap(), [3, 4, 5, 100, 101, 102, 9, 10, 11, 103, 104, 105]);
        // What was cut apart and is joined again is one piece.
        let whole = Value::concatenated(&[&a.sliced(0..1), &a.sliced(1..2)]);
        assert_eq!((whole.parts.len(), whole.shape), (1, a.shape));
        assert_eq!(read(&whole).unwrap(), read(&a).unwrap());
    }
}
