//! The only place where a run copies tensors between the host and a device.
//!
//! A copy blocks until the device has done all that was asked of it before, so a step of training should have few. What
//! goes the same way at the same time goes packed, in one copy.

use std::cell::Cell;

use candle_core::{Device, Result, Tensor};

thread_local! {
    static TRANSFERS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has copied between the host and a device since it began. Where the device is the CPU itself
/// nothing is copied, but it is counted all the same, so that a test on the CPU can tell what a GPU would do.
pub fn transfers() -> u64 {
    TRANSFERS.get()
}

/// Fp32 tensors on a device, for reading there.
///
/// # Errors
/// Where the device cannot take them.
pub(crate) fn up<'a>(tensors: impl IntoIterator<Item = &'a Tensor>, device: &Device) -> Result<Vec<Tensor>> {
    copy(tensors.into_iter().collect(), device)
}

/// One tensor on a device.
///
/// # Errors
/// Where the device cannot take it.
pub(crate) fn up_one(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    count();
    tensor.to_device(device)
}

/// Fp32 tensors on the host, contiguous.
///
/// # Errors
/// Where they cannot be read.
pub(crate) fn down<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<Tensor>> {
    copy(tensors.into_iter().collect(), &Device::Cpu)
}

/// The one number of a tensor.
///
/// # Errors
/// Where it has more, or cannot be read.
pub(crate) fn down_number(tensor: &Tensor) -> Result<f32> {
    count();
    tensor.reshape(())?.to_scalar()
}

fn count() {
    TRANSFERS.set(TRANSFERS.get() + 1);
}

fn copy(tensors: Vec<&Tensor>, device: &Device) -> Result<Vec<Tensor>> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    count();
    let away: Vec<&Tensor> = tensors.iter().copied().filter(|tensor| !tensor.device().same_device(device)).collect();
    let mut arrived = match away.is_empty() {
        true => Vec::new(),
        false => unpack(&pack(&away)?.to_device(device)?, &away)?,
    }
    .into_iter();
    let here = |tensor: &Tensor| match tensor.device().same_device(device) {
        true => Ok(tensor.contiguous()?),
        false => arrived.next().ok_or_else(|| candle_core::Error::Msg("a tensor was lost on its way".into())),
    };
    tensors.into_iter().map(here).collect()
}

/// All their numbers, one tensor after another.
fn pack(tensors: &[&Tensor]) -> Result<Tensor> {
    match tensors {
        [alone] => alone.flatten_all()?.contiguous(),
        many => Tensor::cat(&many.iter().map(|tensor| tensor.flatten_all()).collect::<Result<Vec<_>>>()?, 0),
    }
}

/// Tensors of the shapes of `like`, whose numbers lie one after another.
fn unpack(packed: &Tensor, like: &[&Tensor]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let tensor = |like: &&Tensor| {
        let part = packed.narrow(0, start, like.elem_count())?.reshape(like.dims())?;
        start += like.elem_count();
        Ok(part)
    };
    like.iter().map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let line = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap();
        let shapes: [&[usize]; 3] = [&[3, 4], &[2, 1, 3, 2], &[1]];
        let tensors = shapes.map(|shape| {
            let count = shape.iter().product();
            line.narrow(0, 0, count).unwrap().reshape(shape).unwrap()
        });
        // One that is not contiguous.
        let turned = tensors[0].t().unwrap();
        let all = [&turned, &tensors[1], &tensors[2]];
        let found = unpack(&pack(&all).unwrap(), &all).unwrap();
        for (found, expected) in found.iter().zip(all) {
            assert_eq!(found.dims(), expected.dims());
            let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(numbers(found), numbers(expected));
        }
    }

    #[test]
    fn many_tensors_are_one_transfer() {
        let tensor = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let before = transfers();
        assert_eq!(down([&tensor, &tensor, &tensor]).unwrap().len(), 3);
        assert_eq!(up([&tensor], &Device::Cpu).unwrap().len(), 1);
        assert_eq!(down([]).unwrap().len(), 0);
        assert_eq!(down_number(&tensor.sum_all().unwrap()).unwrap(), 0.0);
        assert_eq!(transfers() - before, 3);
    }
}
