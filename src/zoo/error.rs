//! What can be wrong with a request for a fresh model, or with a list of modules.

use thiserror::Error;

use super::variant::VARIANTS;
use crate::{model::ModelError, options::OptionError};

/// What can be wrong with a request for a fresh model, or with a list of modules.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ZooError {
    /// No variant of this name.
    #[error("there is no variant `{name}`; there are {}", VARIANTS.map(|variant| variant.name).join(", "))]
    UnknownVariant {
        /// The name asked for.
        name: String,
    },
    /// An option out of its range.
    #[error("{0}")]
    Option(#[from] OptionError),
    /// A module that cannot be wired in.
    #[error("module `{path}`: {reason}")]
    Layer {
        /// Path of the module.
        path: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The parts do not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
}
