//! Compute devices by name. Each is opened once in a process: tensors of two openings of one GPU do not mix.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::Device;

use crate::nearest::did_you_mean;

/// Why a device can't be had.
#[derive(Debug, thiserror::Error)]
#[error("there is no device \"{name}\"{}; here there {}: {}{why}", did_you_mean(name, there.iter().map(String::as_str)),
    if there.len() == 1 { "is only" } else { "are" }, there.join(", "))]
pub struct NoDevice {
    name: String,
    there: Vec<String>,
    why: String,
}

/// The device of this name: `cpu`, `cuda` or `cuda:N`, `metal` or `metal:N`.
///
/// # Errors
/// Names the devices that are there.
pub fn parse_device(name: &str) -> Result<Device, NoDevice> {
    static DEVICES: LazyLock<Devices> = LazyLock::new(|| Devices::new(Driver { count, open }));
    DEVICES.get(name)
}

/// The name by which [`parse_device`] finds a device.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Kinds of GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gpu {
    Cuda,
    Metal,
}

impl Gpu {
    const ALL: [Self; 2] = [Self::Cuda, Self::Metal];

    /// Its name, which is also that of the feature that builds its support.
    fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    fn is_built(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }
}

/// How GPUs are counted, which opens none, and opened.
struct Driver {
    count: fn(Gpu) -> usize,
    open: fn(Gpu, usize) -> candle_core::Result<Device>,
}

/// The devices of a process.
struct Devices {
    driver: Driver,
    opened: Mutex<HashMap<(Gpu, usize), Device>>,
}

impl Devices {
    fn new(driver: Driver) -> Self {
        Self { driver, opened: Mutex::default() }
    }

    fn get(&self, name: &str) -> Result<Device, NoDevice> {
        let missing = |why: String| NoDevice { name: name.into(), there: self.names(), why };
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        let index: usize = index.parse().map_err(|_| missing(String::new()))?;
        if kind == "cpu" && index == 0 {
            return Ok(Device::Cpu);
        }
        let gpu = Gpu::ALL.into_iter().find(|gpu| gpu.name() == kind).ok_or_else(|| missing(String::new()))?;
        if index >= (self.driver.count)(gpu) {
            let unbuilt = format!(" (this program was built without the feature \"{kind}\")");
            return Err(missing(if gpu.is_built() { String::new() } else { unbuilt }));
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = opened.get(&(gpu, index)) {
            return Ok(device.clone());
        }
        let device = (self.driver.open)(gpu, index).map_err(|error| missing(format!(" ({error})")))?;
        opened.insert((gpu, index), device.clone());
        Ok(device)
    }

    /// The names of the devices that are there.
    fn names(&self) -> Vec<String> {
        let of = |gpu: Gpu| (0..(self.driver.count)(gpu)).map(move |index| format!("{}:{index}", gpu.name()));
        std::iter::once("cpu".to_owned()).chain(Gpu::ALL.into_iter().flat_map(of)).collect()
    }
}

/// The number of GPUs of a kind, which opens no context on any.
fn count(gpu: Gpu) -> usize {
    match gpu {
        #[cfg(feature = "cuda")]
        Gpu::Cuda => candle_core::cuda_backend::cudarc::driver::CudaContext::device_count()
            .map_or(0, |count| usize::try_from(count).unwrap_or(0)),
        #[cfg(not(feature = "cuda"))]
        Gpu::Cuda => 0,
        // candle doesn't say how many there are; Apple's own machines have one.
        Gpu::Metal => usize::from(gpu.is_built()),
    }
}

fn open(gpu: Gpu, index: usize) -> candle_core::Result<Device> {
    match gpu {
        Gpu::Cuda => Device::new_cuda(index),
        Gpu::Metal => Device::new_metal(index),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_device_that_is_not_there_names_those_that_are() {
        assert!(parse_device("cpu").unwrap().is_cpu());
        for name in ["gpu", "cpu:1", "cuda:x", "cuda:99"] {
            let text = parse_device(name).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(": cpu"), "{text}");
        }
    }

    #[test]
    fn a_gpu_is_opened_once_and_listing_opens_none() {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        let open = |_, index| {
            OPENED.fetch_add(1, Ordering::SeqCst);
            if index == 1 { Err(candle_core::Error::Msg("it is busy".into())) } else { Ok(Device::Cpu) }
        };
        let devices = Devices::new(Driver { count: |gpu| if gpu == Gpu::Cuda { 2 } else { 0 }, open });
        assert_eq!(devices.names(), ["cpu", "cuda:0", "cuda:1"]);
        let text = devices.get("cuda:2").unwrap_err().to_string();
        assert!(text.contains("here there are: cpu, cuda:0, cuda:1"), "{text}");
        assert_eq!(OPENED.load(Ordering::SeqCst), 0);
        for name in ["cuda", "cuda:0", "cuda"] {
            assert!(devices.get(name).is_ok());
        }
        assert_eq!(OPENED.load(Ordering::SeqCst), 1);
        assert!(devices.get("cuda:1").unwrap_err().to_string().ends_with("(it is busy)"));
    }
}
