//! Files to models and back.

mod atomic;
mod error;
mod json_file;
mod native;
mod numbered;
pub mod onnx;
mod onnx_error;
mod open;
mod pt;

pub use atomic::atomic_write;
pub use error::{CheckpointError, IoError, NativeError};
pub(crate) use json_file::{load_json, save_json};
pub use native::Precision;
pub use numbered::new_folder;
pub use open::{Opened, load, open, save, teacher};

#[cfg(test)]
mod tests;
