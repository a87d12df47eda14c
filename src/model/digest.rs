//! A fingerprint of tensors, by which a run knows its teacher again.

use candle_core::{DType, Device, Result};
use sha2::{Digest, Sha256};

use super::value::Tensors;

/// SHA-256 of names, shapes and fp32 numbers, in hexadecimal. The same on every device and machine.
///
/// # Errors
/// Where a tensor cannot be read.
pub fn digest(tensors: &Tensors) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((tensor.rank() as u64).to_le_bytes());
        tensor.dims().iter().for_each(|&dim| hash.update((dim as u64).to_le_bytes()));
        let numbers = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        hash.update(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;

    fn tensors(name: &str, numbers: &[f32], dims: &[usize]) -> Tensors {
        Tensors::from([(name.to_string(), Tensor::from_slice(numbers, dims, &Device::Cpu).unwrap())])
    }

    /// The digests are those of Python's hashlib over the same bytes.
    #[test]
    fn names_shapes_and_numbers_all_count() {
        assert_eq!(digest(&Tensors::new()).unwrap(), EMPTY);
        let one = digest(&tensors("a", &[1.0, 2.0], &[2])).unwrap();
        assert_eq!(one, ONE);
        assert_eq!(one, digest(&tensors("a", &[1.0, 2.0], &[2])).unwrap());
        for other in
            [tensors("b", &[1.0, 2.0], &[2]), tensors("a", &[1.0, 2.0], &[1, 2]), tensors("a", &[1.0, 2.5], &[2])]
        {
            assert_ne!(one, digest(&other).unwrap());
        }
    }

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ONE: &str = "ce3248be2177b63d57dcb6dafe72fec61f3283d6ffe2bf19687e1517af8ed575";
}
