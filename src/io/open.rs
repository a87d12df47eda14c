//! Opening and saving models, whatever the format.

use std::{fs::File, io::Read, path::Path};

use super::{
    error::{IoError, NativeError},
    native::{self, Precision},
    onnx::OnnxModel,
    pt,
};
use crate::model::Model;

/// A file that was opened.
#[derive(Clone, Debug)]
pub enum Opened {
    /// A model of ours, of which everything can be made.
    Model(Model),
    /// An ONNX file, which another engine runs.
    Onnx(OnnxModel),
}

/// Opens a model as [`load`] does, or an ONNX file. What the file is, is told by its content.
///
/// # Errors
/// Names the file, the place in it, and the reason.
pub fn open(path: impl AsRef<Path>) -> Result<Opened, IoError> {
    let path = path.as_ref();
    if is_onnx(&magic(path)?, path) { OnnxModel::open(path).map(Opened::Onnx) } else { load(path).map(Opened::Model) }
}

/// An ONNX file begins with the version of its format; one that is damaged is known by its name.
fn is_onnx(magic: &[u8], path: &Path) -> bool {
    let is_named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    is_named || magic.first() == Some(&0x08)
}

/// The first bytes of a file.
fn magic(path: &Path) -> Result<Vec<u8>, IoError> {
    let read_error = |source| IoError::Read { path: path.into(), source };
    let mut magic = Vec::new();
    File::open(path).map_err(read_error)?.take(9).read_to_end(&mut magic).map_err(read_error)?;
    Ok(magic)
}

/// Opens a model: a PyTorch checkpoint of YOLOv5 or YOLOv8, or a file that [`save`] wrote. What the file is, is told by
/// its content.
///
/// # Errors
/// Names the file, the place in it, and the reason.
pub fn load(path: impl AsRef<Path>) -> Result<Model, IoError> {
    let path = path.as_ref();
    let read_error = |source| IoError::Read { path: path.into(), source };
    let magic = magic(path)?;
    match magic[..] {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => {
            pt::load(path).map_err(|source| IoError::Checkpoint { path: path.into(), source: Box::new(source) })
        }
        [_, _, _, _, _, _, _, _, b'{'] => native::load(path).map_err(|error| match error {
            NativeError::File(source) => read_error(source),
            source => IoError::Native { path: path.into(), source: Box::new(source) },
        }),
        _ => Err(IoError::Format { path: path.into(), found: describe(&magic) }),
    }
}

/// Writes a model as one `.safetensors` file that [`load`] opens with nothing else. A file of that name is replaced only
/// once the new one is complete.
///
/// # Errors
/// Names the file and the reason; what was there before is then untouched.
pub fn save(model: &Model, path: impl AsRef<Path>, precision: Precision) -> Result<(), IoError> {
    native::save(model, path.as_ref(), precision)
}

/// The built-in detector of the built-in dataset's shapes, a narrow YOLOv5n trained by `scripts/train_teacher.rhai`.
///
/// # Errors
/// Never for a program built from a clean checkout; the file it is built from is tested.
pub fn teacher() -> Result<Model, IoError> {
    native::parse(include_bytes!("../../assets/teacher.safetensors"))
        .map_err(|source| IoError::Native { path: "the built-in teacher".into(), source: Box::new(source) })
}

fn describe(magic: &[u8]) -> String {
    match magic {
        [] => "the file is empty".into(),
        [0x80, 2..=5, ..] => {
            "it is a bare pickle, as PyTorch wrote before version 1.6; save it again with a newer one".into()
        }
        [0x08, ..] => "it seems to be an ONNX file, which `io::open` opens to be run, not changed".into(),
        _ if magic.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "it is a text file".into()
        }
        _ => format!("it begins with the bytes {magic:02x?}"),
    }
}
