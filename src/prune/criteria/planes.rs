//! Going through what passes, channel by channel.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::exec::{numbers::Numbers, transfer};

/// For every plane of a tensor (n, channels, h, w), what `of` makes of its numbers, handed to `add` with its channel: image
/// after image, channel after channel.
pub(super) fn by_channel<T: Send>(
    tensor: &Tensor,
    of: impl Fn(&[f32]) -> T + Send + Sync,
    mut add: impl FnMut(usize, T),
) -> Result<()> {
    let (_, channels, height, width) = tensor.dims4()?;
    let tensors = transfer::down([tensor])?;
    let numbers = Numbers::of(&tensors[0])?;
    let numbers: &[f32] = &numbers;
    let planes: Vec<T> = numbers.par_chunks((height * width).max(1)).map(of).collect();
    planes.into_iter().enumerate().for_each(|(place, found)| add(place % channels, found));
    Ok(())
}

/// The same of two tensors of one shape, plane beside plane.
pub(super) fn pairs_by_channel(
    a: &Tensor,
    b: &Tensor,
    of: impl Fn(f64, f64) -> f64 + Send + Sync,
    mut add: impl FnMut(usize, f64),
) -> Result<()> {
    let (_, channels, height, width) = a.dims4()?;
    let tensors = transfer::down([a, b])?;
    let (a, b) = (Numbers::of(&tensors[0])?, Numbers::of(&tensors[1])?);
    let (a, b): (&[f32], &[f32]) = (&a, &b);
    let area = (height * width).max(1);
    let sum = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(&a, &b)| of(f64::from(a), f64::from(b))).sum::<f64>();
    let planes: Vec<f64> = a.par_chunks(area).zip(b.par_chunks(area)).map(sum).collect();
    planes.into_iter().enumerate().for_each(|(place, found)| add(place % channels, found));
    Ok(())
}

/// A mean of numbers as they come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    pub(super) fn add(&mut self, sum: f64, count: u64) {
        self.sum += sum;
        self.count += count;
    }

    /// 0 if there were none.
    pub(super) fn value(self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}
