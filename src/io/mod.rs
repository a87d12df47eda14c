//! Files to models and back.

mod atomic;
mod native;
mod pt;

pub use atomic::atomic_write;
pub use native::{NativeError, Precision};

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    model::{Model, ModelError},
    zoo::ZooError,
};

/// What can go wrong between a file and a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IoError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is of no known format.
    #[error("{} cannot be opened: {found}; expected a PyTorch checkpoint (.pt) or a .safetensors file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// A PyTorch checkpoint that cannot be opened.
    #[error("{} cannot be opened: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Where in it, and why.
        source: CheckpointError,
    },
    /// A `.safetensors` file that cannot be opened.
    #[error("{} cannot be opened: {source}", path.display())]
    Native {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NativeError,
    },
    /// The file cannot be written; what was there before is as it was.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// What can be wrong inside a PyTorch checkpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The zip archive is broken or not PyTorch's.
    #[error("{0}")]
    Archive(String),
    /// The pickle in it is broken.
    #[error("{0}")]
    Pickle(String),
    /// The pickle names something that no detector needs.
    #[error("its pickle asks for `{name}`, which no detector needs; nothing was run, but do not trust this file")]
    Foreign {
        /// The Python name.
        name: String,
    },
    /// What it holds is no detector.
    #[error("{0}")]
    Network(String),
    /// A module that is not understood.
    #[error("module `{path}` ({kind}): {reason}")]
    Module {
        /// Path of the module.
        path: String,
        /// Its class.
        kind: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A tensor that is missing or not what it claims to be.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name in the state dict.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Its modules do not fit together.
    #[error(transparent)]
    Zoo(#[from] ZooError),
    /// Its tensors do not fit its modules.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Opens a model: a PyTorch checkpoint of YOLOv5 or YOLOv8, or a file that [`save`] wrote. What the file is, is told by
/// its content.
///
/// # Errors
/// Names the file, the place in it, and the reason.
pub fn load(path: impl AsRef<Path>) -> Result<Model, IoError> {
    let path = path.as_ref();
    let read_error = |source| IoError::Read { path: path.into(), source };
    let mut magic = Vec::new();
    File::open(path).map_err(read_error)?.take(9).read_to_end(&mut magic).map_err(read_error)?;
    match magic[..] {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => {
            pt::load(path).map_err(|source| IoError::Checkpoint { path: path.into(), source })
        }
        [_, _, _, _, _, _, _, _, b'{'] => native::load(path).map_err(|error| match error {
            NativeError::File(source) => read_error(source),
            source => IoError::Native { path: path.into(), source },
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
        .map_err(|source| IoError::Native { path: "the built-in teacher".into(), source })
}

fn describe(magic: &[u8]) -> String {
    match magic {
        [] => "the file is empty".into(),
        [0x80, 2..=5, ..] => {
            "it is a bare pickle, as PyTorch wrote before version 1.6; save it again with a newer one".into()
        }
        [0x08, ..] => "it seems to be an ONNX file".into(),
        _ if magic.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "it is a text file".into()
        }
        _ => format!("it begins with the bytes {magic:02x?}"),
    }
}

#[cfg(test)]
mod tests;
