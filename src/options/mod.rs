//! Options, declared once: the line of an `options!` struct that gives an option its name, type, default, limits and
//! documentation is also what checks it, and what a script language reads, completes and explains it by.
//!
//! ```text
//! options! {
//!     /// How a model is trained.
//!     pub struct FitOptions {
//!         /// Passes over the training split.
//!         pub epochs: usize = 30, 1..=100_000;
//!     }
//! }
//! ```
//! To add an option, add such a line.

mod by_pattern;
mod declare;
mod error;
mod group;
mod kind;
mod names;
mod spec;
mod value;

pub use by_pattern::{ByPattern, PerLayer};
pub(crate) use declare::options;
pub use error::OptionError;
pub use group::{Field, Options};
pub use kind::{Kind, Spec, Value};
pub(crate) use names::option_names;
pub use value::OptionValue;

/// A field's name as an option's: `where` for `r#where`.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The splits that a dataset may have.
pub const SPLITS: &[&str] = &["train", "val", "test"];

#[cfg(test)]
mod tests;
