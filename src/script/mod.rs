//! The script language: Rhai with Espalier's objects.
//!
//! A [`Session`] evaluates a line, a file or a piped script in the one way there is. What a script can call is bound in
//! `objects`, one small file an object: parse the options, call the library, wrap the result. Documentation, completion,
//! hints and error messages all come from those bindings and from the declarations of their options.

mod api;
mod catalog;
mod check;
mod device;
mod document;
mod engine;
mod explain;
mod failure;
mod fault;
mod help;
mod hint;
mod interrupt;
mod keys;
mod object;
mod objects;
mod options;
mod progress;
pub mod scan;
mod session;
mod state;

pub use candle_core::Device;
pub use catalog::{Catalog, Entry, EntryKind, Receiver};
pub use device::parse_device;
pub use failure::{Failure, Report};
pub use fault::quiet_panics;
pub use interrupt::Interrupt;
pub use options::{OptionKind, OptionSet, Spec};
pub use progress::Bar;
pub use session::{Session, Settings, Syntax};
pub use state::Output;

#[cfg(test)]
mod accuracy_tests;
#[cfg(test)]
mod onnx_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod sparse_tests;
#[cfg(test)]
mod tests;
