//! What is evaluated, timed and compared: models, and ONNX files that another engine runs.

use super::error::EvalError;
use crate::io::onnx::OnnxModel;
use crate::model::Model;
use crate::options::OptionError;

/// What is evaluated, timed or compared. Both `&Model` and `&OnnxModel` are turned into one.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A model, which we run.
    Model(&'a Model),
    /// A file, which another engine runs.
    Onnx(&'a OnnxModel),
}

impl<'a> From<&'a Model> for Subject<'a> {
    fn from(model: &'a Model) -> Self {
        Self::Model(model)
    }
}

impl<'a> From<&'a OnnxModel> for Subject<'a> {
    fn from(file: &'a OnnxModel) -> Self {
        Self::Onnx(file)
    }
}

impl<'a> Subject<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        match self {
            Self::Model(model) => &model.provenance().name,
            Self::Onnx(file) => file.name(),
        }
    }

    /// Class names, by class index.
    pub fn classes(self) -> &'a [String] {
        match self {
            Self::Model(model) => &model.detector().classes,
            Self::Onnx(file) => file.classes(),
        }
    }

    /// Checks that it runs on square images of `size` pixels.
    ///
    /// # Errors
    /// Says on which it runs.
    pub fn check_size(self, size: usize) -> Result<(), OptionError> {
        match self {
            Self::Model(model) => model.check_size(size),
            Self::Onnx(file) => file.check_size(size),
        }
    }

    /// Checks that it runs on so many images at once.
    ///
    /// # Errors
    /// Says on how many it runs.
    pub fn check_batch(self, batch: usize) -> Result<(), OptionError> {
        match self {
            Self::Model(_) => Ok(()),
            Self::Onnx(file) => file.check_batch(batch),
        }
    }

    /// Multiply-accumulates of an image of `size` pixels square.
    ///
    /// # Errors
    /// Where it does not run at that size.
    pub(super) fn macs(self, size: usize) -> Result<u64, EvalError> {
        match self {
            Self::Model(model) => Ok(model.cost(size)?.macs),
            Self::Onnx(file) => file.macs(size).map_err(EvalError::file),
        }
    }
}

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;
