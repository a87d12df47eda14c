//! ONNX files of any tool as models that another engine runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use prost::Message;

use super::cost::{Weights, macs, weights};
use super::engine::{Engine, Threads};
use super::facts::{Facts, facts};
use super::proto::ModelProto;
use crate::io::error::IoError;
use crate::io::onnx_error::OnnxError;
use crate::options::OptionError;

/// A detector in an ONNX file, ours or another tool's, which another engine (rten) runs: it can be evaluated, timed and
/// compared, and finds boxes. Cloning shares it.
#[derive(Clone)]
pub struct OnnxModel {
    name: String,
    file: Arc<File>,
}

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    facts: Facts,
    weights: Weights,
    engine: Engine,
}

/// How the boxes of an output are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// (n, places, 5 + classes), as YOLOv5's exporter writes it: centre and size in pixels, objectness, a share for each
    /// class.
    ByPlace,
    /// (n, 4 + classes, places), as Ultralytics' exporter writes it: centre and size in pixels, a confidence for each class.
    ByValue,
    /// (n, boxes, 6), after suppression: left, top, right, bottom in pixels, confidence, class.
    Suppressed,
}

/// What a file gives for images.
#[derive(Clone, Debug)]
pub struct Boxes {
    /// How it is laid out.
    pub layout: Layout,
    /// The output, on the CPU.
    pub values: Tensor,
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxModel").field("name", &self.name).field("facts", &self.file.facts).finish_non_exhaustive()
    }
}

impl OnnxModel {
    /// Opens a file.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it: damaged, of another task, without class names, of another form than a
    /// detector's, or with operations that the engine does not know.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IoError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| IoError::Read { path: path.into(), source })?;
        let file = read(path, bytes).map_err(|source| of_file(path, source))?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, file: Arc::new(file) })
    }

    /// Its name: that of the file, unless it was given another.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same under another name.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The file's bytes.
    pub fn bytes(&self) -> u64 {
        self.file.bytes.len() as u64
    }

    /// Class names, by class index.
    pub fn classes(&self) -> &[String] {
        &self.file.facts.classes
    }

    /// Side of the images in pixels, where it takes no other.
    pub fn size(&self) -> Option<usize> {
        self.file.facts.size
    }

    /// Images at once, where it takes no other number.
    pub fn batch(&self) -> Option<usize> {
        self.file.facts.batch
    }

    /// What its weights are like.
    pub fn weights(&self) -> &Weights {
        &self.file.weights
    }

    /// Multiply-accumulates of an image of `size` pixels square, counted while it runs once.
    ///
    /// # Errors
    /// A size that it does not take; what the engine says.
    pub fn macs(&self, size: usize) -> Result<u64, IoError> {
        let count = || {
            self.check_size(size)?;
            let image =
                Tensor::zeros((self.batch().unwrap_or(1), 3, size, size), candle_core::DType::F32, &Device::Cpu)?;
            let file = decode(&self.file.bytes)?;
            macs(&file.graph.unwrap_or_default(), self.file.bytes.clone(), &image)
        };
        count().map_err(|source| of_file(self.path(), source))
    }

    /// Checks that it runs on square images of `size` pixels.
    ///
    /// # Errors
    /// Says which it takes.
    pub fn check_size(&self, size: usize) -> Result<(), OptionError> {
        let Facts { size: fixed, stride, .. } = self.file.facts;
        let expected = match fixed {
            Some(fixed) if fixed != size => format!("{fixed}, the only size that {} was exported for", self.name),
            None if size == 0 || !size.is_multiple_of(stride) => {
                format!("a multiple of the stride of {}, {stride}", self.name)
            }
            Some(_) | None => return Ok(()),
        };
        Err(OptionError::value("size", expected, size))
    }

    /// Checks that it takes so many images at once.
    ///
    /// # Errors
    /// Says how many it takes.
    pub fn check_batch(&self, batch: usize) -> Result<(), OptionError> {
        match self.batch() {
            Some(fixed) if fixed != batch => {
                let expected = format!("{fixed}, the only number of images that {} was exported for", self.name);
                Err(OptionError::value("batch", expected, batch))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What it gives for images (n, 3, size, size) with values in [0, 1], on these threads or the engine's own. Where it
    /// takes a fixed number of images, they come in parts of that many, and the last is filled up with black ones.
    ///
    /// # Errors
    /// What the engine says; an output that is none of a detector.
    pub fn run(&self, images: &Tensor, threads: Option<&Threads>) -> Result<Boxes, IoError> {
        self.boxes(images, threads).map_err(|source| of_file(self.path(), source))
    }

    fn boxes(&self, images: &Tensor, threads: Option<&Threads>) -> Result<Boxes, OnnxError> {
        let images = images.to_device(&Device::Cpu)?;
        let count = images.dim(0)?;
        let at_once = self.batch().unwrap_or(count).max(1);
        let mut parts = Vec::new();
        for start in (0..count).step_by(at_once) {
            let here = at_once.min(count - start);
            let part = images.narrow(0, start, here)?;
            let filled = part.pad_with_zeros(0, 0, at_once - here)?.contiguous()?;
            let output = self.file.engine.run(&filled, threads)?.swap_remove(self.file.facts.output);
            if output.dims().first() != Some(&at_once) {
                return unfit(format!("for {at_once} images its output has the shape {:?}", output.dims()));
            }
            parts.push(output.narrow(0, 0, here)?);
        }
        let values = Tensor::cat(&parts, 0)?;
        Ok(Boxes { layout: layout(values.dims(), &self.file.facts)?, values })
    }
}

fn unfit<T>(what: String) -> Result<T, OnnxError> {
    Err(OnnxError::Unfit(what))
}

fn of_file(path: &Path, source: OnnxError) -> IoError {
    IoError::Onnx { path: path.into(), source: Box::new(source) }
}

fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    ModelProto::decode(bytes).map_err(|error| OnnxError::Damaged(error.to_string()))
}

fn read(path: &Path, bytes: Vec<u8>) -> Result<File, OnnxError> {
    let file = decode(&bytes)?;
    let facts = facts(&file)?;
    let graph = file.graph.as_ref().ok_or_else(|| OnnxError::Damaged("it holds no graph".into()))?;
    if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.data_location != 0) {
        return unfit(format!("the numbers of `{}` are in another file; export it as one file", tensor.name));
    }
    let weights = weights(graph)?;
    match graph.node.iter().filter(|node| node.op_type == "NonMaxSuppression").count() {
        0 => {}
        1 if file.encoded_len() == bytes.len() => {}
        // It is cut there and written anew, which must not lose anything.
        1 => {
            return unfit(
                "its non-maximum suppression cannot be cut out of what else is in it; export it without `nms`".into(),
            );
        }
        more => {
            return unfit(format!("it suppresses boxes in {more} places; export it without `nms`, or for one image"));
        }
    }
    let engine = Engine::new(&file, || bytes.clone())?;
    Ok(File { path: path.into(), bytes, facts, weights, engine })
}

/// How an output of these dimensions is laid out.
fn layout(dims: &[usize], facts: &Facts) -> Result<Layout, OnnxError> {
    let classes = facts.classes.len();
    let wrong = || {
        unfit(format!(
            "its output has the shape {dims:?}, and with {classes} classes (n, {}, places) or (n, places, {}) was expected",
            4 + classes,
            5 + classes
        ))
    };
    let &[_, rows, columns] = dims else { return wrong() };
    let (by_value, by_place) = (rows == 4 + classes, columns == 5 + classes);
    match (facts.suppresses, columns == 6) {
        (true, true) => Ok(Layout::Suppressed),
        (true, false) => {
            unfit(format!("its output after suppression has the shape {dims:?}; (n, boxes, 6) was expected"))
        }
        // Where both fit, there are more places than values.
        (false, _) if by_value && (!by_place || columns > rows) => Ok(Layout::ByValue),
        (false, _) if by_place => Ok(Layout::ByPlace),
        (false, true) => Ok(Layout::Suppressed),
        (false, false) => wrong(),
    }
}

#[cfg(test)]
#[path = "opened_tests.rs"]
mod tests;
