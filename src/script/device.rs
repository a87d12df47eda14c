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
pub fn parse_device(name: &str) -> Result<Device, NoDevice> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let missing = |why: String| NoDevice { name: name.into(), there: devices(), why };
    let index: usize = index.parse().map_err(|_| missing(String::new()))?;
    let refused = |error: candle_core::Error| missing(format!(" ({error})"));
    match kind {
        "cpu" if index == 0 => Ok(Device::Cpu),
        "cuda" if cfg!(feature = "cuda") => Device::new_cuda(index).map_err(refused),
        "metal" if cfg!(feature = "metal") => Device::new_metal(index).map_err(refused),
        "cuda" | "metal" => Err(missing(format!(" (this program was built without the feature \"{kind}\")"))),
        _ => Err(missing(String::new())),
    }
}

/// The name by which [`parse_device`] finds a device.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The names of the devices that are there.
fn devices() -> Vec<String> {
    let mut names = vec!["cpu".to_owned()];
    if cfg!(feature = "cuda") {
        names.extend((0..).take_while(|&index| Device::new_cuda(index).is_ok()).map(|index| format!("cuda:{index}")));
    }
    if cfg!(feature = "metal") {
        names.extend((0..).take_while(|&index| Device::new_metal(index).is_ok()).map(|index| format!("metal:{index}")));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_names_those_that_are() {
        assert!(parse_device("cpu").unwrap().is_cpu());
        for name in ["gpu", "cpu:1", "cuda:x", "cuda:99"] {
            let text = parse_device(name).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(": cpu"), "{text}");
        }
    }
}
