//! What a teacher gives for images that stay the same, kept in a folder from epoch to epoch and from run to run.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use candle_core::{Device, Tensor, safetensors::load_buffer};

use crate::{
    exec::Values,
    io::{IoError, atomic_write},
    model::{Tensors, digest},
    train::{Teacher, TermError},
};

/// A teacher that looks at each image once. An image is known again by its pixels, so that another size, other data or an
/// image that was augmented is another one.
pub(super) struct Cache {
    teacher: Arc<dyn Teacher>,
    /// Which teacher, and which of its values.
    key: String,
    folder: PathBuf,
    /// Bytes that all files of the folder may have.
    limit: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// Bytes of the folder's files; not counted yet at first.
    bytes: Option<u64>,
    read: usize,
    computed: usize,
    left_out: usize,
}

const GIB: f64 = (1u64 << 30) as f64;

impl Cache {
    /// For a teacher of which the taps in `key` are kept, in a folder that is made when it is needed.
    pub fn new(teacher: Arc<dyn Teacher>, key: String, folder: &Path, gib: f64) -> Self {
        Self { teacher, key, folder: folder.into(), limit: (gib * GIB) as u64, used: Mutex::default() }
    }

    /// What it was good for.
    pub fn summary(&self) -> String {
        let (used, folder) = (self.used(), self.folder.display());
        let (read, computed, gib) = (used.read, used.computed, used.bytes.unwrap_or(0) as f64 / GIB);
        let summary = format!(
            "the teacher's outputs: {read} read from {folder}, {computed} computed; the folder has {gib:.2} GiB"
        );
        match used.left_out {
            0 => summary,
            left_out => format!("{summary}, and {left_out} did not fit into it: raise `cache_gib`"),
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, image: &Tensor) -> Result<PathBuf, TermError> {
        let digest = digest(&Tensors::from([(self.key.clone(), image.clone())]))?;
        Ok(self.folder.join(format!("{digest}.safetensors")))
    }

    /// Writes an image's values where there is room.
    fn keep(&self, path: &Path, values: &Values) -> Result<(), TermError> {
        let mut used = self.used();
        let before = match used.bytes {
            Some(bytes) => bytes,
            None => bytes_in(&self.folder)?,
        };
        let bytes = safetensors::serialize(named(values), None)?;
        let after = before + bytes.len() as u64;
        used.bytes = Some(if after > self.limit { before } else { after });
        used.computed += 1;
        if after > self.limit {
            used.left_out += 1;
            return Ok(());
        }
        Ok(atomic_write(path, |writer| writer.write_all(&bytes))?)
    }

    fn read(&self, path: &Path, device: &Device) -> Result<Option<Values>, TermError> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(path).map_err(|source| IoError::Read { path: path.into(), source })?;
        let values = load_buffer(&bytes, device).ok().and_then(values_of);
        let damaged = || format!("{} holds no outputs of a teacher: delete it and resume the run", path.display());
        let values = values.ok_or_else(damaged)?;
        self.used().read += 1;
        Ok(Some(values))
    }
}

impl Teacher for Cache {
    fn values(&self, images: &Tensor) -> Result<Values, TermError> {
        let paths = (0..images.dim(0)?).map(|index| self.path(&images.narrow(0, index, 1)?));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let found = paths.iter().map(|path| self.read(path, images.device()));
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        let missing: Vec<usize> = (0..paths.len()).filter(|&index| found[index].is_none()).collect();
        if !missing.is_empty() {
            let indices: Vec<u32> = missing.iter().map(|&index| index as u32).collect();
            let computed = self.teacher.values(&images.index_select(&Tensor::new(indices, images.device())?, 0)?)?;
            for (row, index) in missing.into_iter().enumerate() {
                let one = each(&computed, |tensor| tensor.narrow(0, row, 1)?.contiguous())?;
                self.keep(&paths[index], &one)?;
                found[index] = Some(one);
            }
        }
        Ok(joined(&found.into_iter().flatten().collect::<Vec<_>>())?)
    }
}

fn each(values: &Values, change: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> candle_core::Result<Values> {
    let outputs = values.outputs.iter().map(&change).collect::<Result<_, _>>()?;
    let taps = values.taps.iter().map(|(node, tensor)| Ok((*node, change(tensor)?)));
    Ok(Values { outputs, taps: taps.collect::<candle_core::Result<_>>()? })
}

/// The values of a batch, from those of its images.
fn joined(images: &[Values]) -> candle_core::Result<Values> {
    let outputs = (0..images[0].outputs.len())
        .map(|index| Tensor::cat(&images.iter().map(|image| &image.outputs[index]).collect::<Vec<_>>(), 0));
    let taps = images[0].taps.keys().map(|node| {
        let all: Vec<&Tensor> = images.iter().map(|image| &image.taps[node]).collect();
        Ok((*node, Tensor::cat(&all, 0)?))
    });
    Ok(Values { outputs: outputs.collect::<Result<_, _>>()?, taps: taps.collect::<candle_core::Result<_>>()? })
}

const OUTPUT: &str = "output.";
const TAP: &str = "tap.";

fn named(values: &Values) -> BTreeMap<String, &Tensor> {
    let outputs = values.outputs.iter().enumerate().map(|(index, tensor)| (format!("{OUTPUT}{index}"), tensor));
    outputs.chain(values.taps.iter().map(|(node, tensor)| (format!("{TAP}{node}"), tensor))).collect()
}

/// What [`named`] was given; `None` where the names are others.
fn values_of(tensors: HashMap<String, Tensor>) -> Option<Values> {
    let (mut outputs, mut taps) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in tensors {
        if let Some(index) = name.strip_prefix(OUTPUT) {
            outputs.insert(index.parse::<usize>().ok()?, tensor);
        } else {
            taps.insert(name.strip_prefix(TAP)?.parse().ok()?, tensor);
        }
    }
    (outputs.keys().copied().eq(0..outputs.len()) && !outputs.is_empty())
        .then(|| Values { outputs: outputs.into_values().collect(), taps })
}

/// Bytes of a folder's files; of one that is not there, none.
fn bytes_in(folder: &Path) -> Result<u64, IoError> {
    let failed = |source| IoError::Read { path: folder.into(), source };
    if !folder.exists() {
        return Ok(0);
    }
    let sizes = fs::read_dir(folder).map_err(failed)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().map_err(failed)
}
