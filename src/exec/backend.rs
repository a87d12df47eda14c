//! Which implementation of the operations runs.

use candle_core::Device;
use espalier_kernels::dtype::ComputeDtype;

use super::error::ExecError;

/// Which implementation of the operations runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Candle's own operations, on any device.
    Reference,
    /// Our own kernels, on the CPU, whose convolutions multiply such numbers.
    Fast(ComputeDtype),
}

impl Backend {
    /// The fastest backend for a device, in fp32.
    pub fn for_device(device: &Device) -> Self {
        match device {
            Device::Cpu => Backend::Fast(ComputeDtype::Fp32),
            Device::Cuda(_) | Device::Metal(_) => Backend::Reference,
        }
    }

    /// The fastest backend for a device in this dtype.
    ///
    /// # Errors
    /// For bf16, without a CPU that has instructions for it.
    pub fn in_dtype(device: &Device, dtype: ComputeDtype) -> Result<Self, ExecError> {
        match (dtype, device) {
            (ComputeDtype::Fp32, _) => Ok(Self::for_device(device)),
            (ComputeDtype::Bf16, Device::Cpu) if dtype.is_native() => Ok(Backend::Fast(dtype)),
            (ComputeDtype::Bf16, Device::Cpu) => Err(ExecError::Dtype { lacking: "this processor has none" }),
            (ComputeDtype::Bf16, _) => Err(ExecError::Dtype { lacking: "the model is on another device" }),
        }
    }
}
