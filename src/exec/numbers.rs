//! The numbers of tensors, read and changed where they are.

use std::cell::Cell;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor};
use rayon::prelude::*;

/// Numbers of a tensor or of a slice, without a copy.
pub(crate) enum Numbers<'a> {
    /// Those of a slice.
    Slice(&'a [f32]),
    /// Those of a tensor, which can't be written meanwhile.
    Tensor {
        /// The tensor's memory, or that of a larger one that it is a part of.
        storage: StorageRef<'a>,
        /// Its own part.
        range: Range<usize>,
    },
}

impl<'a> Numbers<'a> {
    /// Those of a contiguous fp32 tensor on the CPU.
    ///
    /// # Errors
    /// For any other tensor.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => Ok(Self::Tensor { storage, range: start..end }),
            _ => {
                let (dtype, device) = (tensor.dtype(), tensor.device());
                candle_core::bail!("expected contiguous fp32 numbers on the CPU, found {dtype:?} on {device:?}")
            }
        }
    }
}

impl Deref for Numbers<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Numbers::Slice(numbers) => numbers,
            Numbers::Tensor { storage, range } => match &**storage {
                Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[range.clone()],
                _ => unreachable!("looked at when it was made"),
            },
        }
    }
}

/// Hands the numbers of an fp32 tensor on the CPU to `use_numbers`; copied where they are not contiguous.
///
/// # Errors
/// For any other tensor.
pub(crate) fn with_numbers<R>(tensor: &Tensor, use_numbers: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    Ok(use_numbers(&Numbers::of(&tensor)?))
}

/// Zeros for a tensor to be, which all threads write: one takes as long as many an operation.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    const LINE: usize = 16;
    let lines = rayon::iter::repeat_n([0.0; LINE], len.div_ceil(LINE)).with_min_len(1 << 12);
    let mut numbers = lines.collect::<Vec<_>>().into_flattened();
    numbers.truncate(len);
    numbers
}

/// Lets `modify` at the numbers of a contiguous fp32 tensor on the CPU; all tensors that share its memory change.
///
/// # Errors
/// For any other tensor.
pub(crate) fn modify<R>(tensor: &Tensor, modify: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    let operation = Modify { modify: Cell::new(Some(modify)), result: Cell::new(None) };
    tensor.inplace_op1(&operation)?;
    operation.result.take().ok_or_else(|| candle_core::Error::Msg("the numbers were not looked at".into()))
}

struct Modify<F, R> {
    modify: Cell<Option<F>>,
    result: Cell<Option<R>>,
}

impl<F: FnOnce(&mut [f32]) -> R, R> InplaceOp1 for Modify<F, R> {
    fn name(&self) -> &'static str {
        "modify"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(numbers), Some((start, end))) => {
                self.result.set(self.modify.take().map(|modify| modify(&mut numbers[start..end])));
                Ok(())
            }
            _ => candle_core::bail!("expected contiguous fp32 numbers"),
        }
    }
}
