//! The zip archive of a checkpoint, and the tensors in it.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use zip::ZipArchive;

use super::pickle::{Pickle, Ref, Value};

/// The largest pickle read. Those of the largest detectors are well below 1 MiB.
const MAX_PICKLE: u64 = 64 << 20;

/// How much larger than the file its contents may be. PyTorch does not compress.
const MAX_RATIO: u128 = 64;

/// A tensor as the pickle describes it; its numbers are still in the archive.
#[derive(Clone, Debug)]
pub(super) struct TensorRef {
    dtype: DType,
    /// Name of the storage in the archive.
    pub key: String,
    /// Elements of the storage.
    storage: usize,
    offset: usize,
    pub shape: Vec<usize>,
    stride: Vec<usize>,
}

impl TensorRef {
    /// What the call that would rebuild a tensor says of it.
    pub fn parse(pickle: &Pickle, at: Ref) -> Result<Self, String> {
        let (mut function, mut args) = call(pickle, at)?;
        if let ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [data, ..]) =
            (function.as_str(), args)
        {
            (function, args) = call(pickle, *data)?;
        }
        let [storage, offset, shape, stride, ..] = args else {
            return Err(format!("`{function}` with {} arguments does not describe a tensor", args.len()));
        };
        if !matches!(function.as_str(), "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor") {
            return Err(format!("tensors made by `{function}` are not supported"));
        }
        let (dtype, key, elements) = storage_of(pickle, *storage)?;
        let tensor = Self {
            dtype,
            key,
            storage: elements,
            offset: size(pickle, *offset)?,
            shape: sizes(pickle, *shape)?,
            stride: sizes(pickle, *stride)?,
        };
        tensor.check()?;
        Ok(tensor)
    }

    /// Elements, which [`TensorRef::check`] has found to fit the storage.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn check(&self) -> Result<(), String> {
        let Self { shape, stride, storage, offset, .. } = self;
        if shape.len() != stride.len() || shape.len() > 8 {
            return Err(format!("its shape {shape:?} and strides {stride:?} do not fit each other"));
        }
        if shape.contains(&0) {
            return Err(format!("its shape {shape:?} holds no numbers"));
        }
        let elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        match elements.and_then(|elements| elements.checked_add(*offset)) {
            Some(end) if end <= *storage => self.dense_order().map(|_| ()),
            _ => Err(format!(
                "its shape {shape:?} from element {offset} on does not fit its storage of {storage} elements"
            )),
        }
    }

    /// The axes from the slowest to the fastest in memory, where they lie there without gaps or overlaps.
    fn dense_order(&self) -> Result<Vec<usize>, String> {
        let mut axes: Vec<usize> = (0..self.shape.len()).collect();
        axes.sort_by_key(|&axis| std::cmp::Reverse(if self.shape[axis] == 1 { 0 } else { self.stride[axis] }));
        let mut expected = 1;
        for &axis in axes.iter().rev() {
            if self.shape[axis] != 1 && self.stride[axis] != expected {
                return Err(format!("its shape {:?} with strides {:?} has gaps or overlaps", self.shape, self.stride));
            }
            expected *= self.shape[axis];
        }
        Ok(axes)
    }
}

/// The function that a call names, and its arguments.
fn call(pickle: &Pickle, at: Ref) -> Result<(String, &[Ref]), String> {
    if let Value::Object { class, args, .. } = pickle.get(at)
        && let (Value::Global { module, name }, Value::Tuple(args)) = (pickle.get(*class), pickle.get(*args))
    {
        return Ok((format!("{module}.{name}"), args));
    }
    Err("expected a tensor, found something else".into())
}

fn storage_of(pickle: &Pickle, at: Ref) -> Result<(DType, String, usize), String> {
    let Value::Persistent(id) = pickle.get(at) else { return Err("its storage is not in the archive".into()) };
    let Value::Tuple(parts) = pickle.get(*id) else { return Err("its storage is described in an unknown way".into()) };
    match parts.iter().map(|&part| pickle.get(part)).collect::<Vec<_>>()[..] {
        [Value::Text(tag), Value::Global { name, .. }, Value::Text(key), _, Value::Int(elements), ..]
            if tag == "storage" =>
        {
            let dtype = match name.as_str() {
                "FloatStorage" => DType::F32,
                "HalfStorage" => DType::F16,
                "BFloat16Storage" => DType::BF16,
                "DoubleStorage" => DType::F64,
                _ => return Err(format!("its storage is a `{name}`, not one of 16, 32 or 64 bit floats")),
            };
            let elements = usize::try_from(*elements).map_err(|_| "its storage has a negative size")?;
            Ok((dtype, key.clone(), elements))
        }
        _ => Err("its storage is described in an unknown way".into()),
    }
}

fn size(pickle: &Pickle, at: Ref) -> Result<usize, String> {
    match pickle.get(at) {
        Value::Int(value) => usize::try_from(*value).map_err(|_| format!("a size or offset of {value}")),
        _ => Err("a size or offset that is no whole number".into()),
    }
}

fn sizes(pickle: &Pickle, at: Ref) -> Result<Vec<usize>, String> {
    match pickle.get(at) {
        Value::Tuple(items) => items.iter().map(|&item| size(pickle, item)).collect(),
        _ => Err("its shape or strides are no tuple".into()),
    }
}

/// An open checkpoint.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    folder: String,
    /// Bytes that tensors may still take: many tensors could share one storage to exhaust memory.
    budget: u128,
    /// The storage unpacked last, by name: tensors that share one are read from it.
    storage: Option<(String, Vec<u8>)>,
    /// How many storages were unpacked.
    #[cfg(test)]
    pub unpacked: usize,
}

impl Archive {
    /// Opens a zip archive and finds the folder of the checkpoint in it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let len = u128::from(file.metadata().map_err(|error| error.to_string())?.len());
        let broken = |error| format!("the zip archive is broken or cut short ({error}); copy or download it again");
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
        let mut content = 0;
        for index in 0..zip.len() {
            content += u128::from(zip.by_index_raw(index).map_err(broken)?.size());
        }
        if content > len * MAX_RATIO {
            return Err(format!("its {len} bytes claim to unpack to {content}, which no checkpoint does"));
        }
        let folder = zip.file_names().flatten().find_map(|name| name.strip_suffix("data.pkl").map(str::to_owned));
        let folder = folder.ok_or("the zip archive has no `data.pkl`, so PyTorch did not write it")?;
        Ok(Self {
            zip,
            folder,
            budget: content,
            storage: None,
            #[cfg(test)]
            unpacked: 0,
        })
    }

    /// The pickle of the checkpoint.
    pub fn pickle(&mut self) -> Result<Vec<u8>, String> {
        if let Ok(order) = self.entry("byteorder", 64)
            && order != b"little"
        {
            return Err("it was saved with big-endian numbers; save it again on a little-endian machine".into());
        }
        self.entry("data.pkl", MAX_PICKLE)
    }

    /// A tensor's numbers as fp32. Tensors of one storage should be asked for in a row: the last one is kept unpacked.
    pub fn tensor(&mut self, tensor: &TensorRef) -> Result<Tensor, String> {
        let width = tensor.dtype.size_in_bytes();
        let expected = (tensor.storage as u64).saturating_mul(width as u64);
        self.budget = self
            .budget
            .checked_sub(tensor.elements() as u128 * width as u128)
            .ok_or("its tensors together claim more numbers than the file holds")?;
        let bytes = self.storage(&tensor.key, expected)?;
        let range = tensor.offset * width..(tensor.offset + tensor.elements()) * width;
        let axes = tensor.dense_order()?;
        let in_memory: Vec<usize> = axes.iter().map(|&axis| tensor.shape[axis]).collect();
        let mut back = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
        Tensor::from_raw_buffer(&bytes[range], tensor.dtype, &in_memory, &Device::Cpu)
            .and_then(|values| values.to_dtype(DType::F32)?.permute(back)?.contiguous())
            .map_err(|error| error.to_string())
    }

    /// The bytes of a storage, of which there must be so many.
    fn storage(&mut self, key: &str, expected: u64) -> Result<&[u8], String> {
        let (_, bytes) = match self.storage.take() {
            Some(last) if last.0 == key => self.storage.insert(last),
            _ => {
                #[cfg(test)]
                {
                    self.unpacked += 1;
                }
                let bytes = self.entry(&format!("data/{key}"), expected)?;
                self.storage.insert((key.to_owned(), bytes))
            }
        };
        match bytes.len() as u64 {
            found if found == expected => Ok(bytes),
            found => Err(format!("its storage `{key}` should have {expected} bytes, and has {found}")),
        }
    }

    /// An entry of at most `max` bytes, its checksum verified.
    fn entry(&mut self, name: &str, max: u64) -> Result<Vec<u8>, String> {
        let full = format!("{}{name}", self.folder);
        let mut entry = self.zip.by_name(&full).map_err(|error| format!("`{name}` in the zip archive: {error}"))?;
        let size = entry.size();
        if size > max {
            return Err(format!("`{name}` in the zip archive has {size} bytes, more than the expected {max}"));
        }
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(size as usize)
            .map_err(|_| format!("`{name}` has {size} bytes: too much for memory"))?;
        // One byte more than there should be, so that the end is reached and the checksum compared.
        let read = entry.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| format!("`{name}` in the zip archive: {error}"))?;
        if bytes.len() as u64 != size {
            return Err(format!("`{name}` in the zip archive should have {size} bytes, and has {}", bytes.len()));
        }
        Ok(bytes)
    }
}
