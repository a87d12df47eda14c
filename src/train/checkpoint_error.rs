//! Why a run cannot be resumed.

use safetensors::SafeTensorError;
use thiserror::Error;

/// What is wrong with a checkpoint, or what differs from the run that it is of.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file is not there or cannot be read.
    #[error("cannot be read ({0}); resume takes the folder of a run, such as runs/fit")]
    Read(std::io::Error),
    /// The container is damaged, or is another file.
    #[error("is not a whole checkpoint ({0})")]
    Container(#[from] SafeTensorError),
    /// A safetensors file without the description of a run.
    #[error("is a safetensors file, but not the checkpoint of a run")]
    NoDescription,
    /// A description that does not say what it must.
    #[error("its description is broken: {0}")]
    Description(#[from] serde_json::Error),
    /// Another version's layout.
    #[error("has version {}, and this program resumes runs of version {known}; begin a new run", found.map_or("none".into(), |found| found.to_string()))]
    Version {
        /// The version found.
        found: Option<u64>,
        /// The only version that can be read.
        known: u32,
    },
    /// An array of another type.
    #[error("its array `{name}` has type {found}, not F32")]
    ArrayType {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// Arrays that do not fit the model.
    #[error("its arrays have lengths {found}, but the model needs {expected}")]
    ArrayLengths {
        /// Of weights, average and optimiser state.
        found: String,
        /// Likewise, for the model given.
        expected: String,
    },
    /// The run trains another network.
    #[error("the run trains another network (`{name}`); give the model that it began with")]
    Network {
        /// The name of the run's.
        name: String,
    },
    /// The run holds other weights at zero.
    #[error("the run's model has other masks; give the model that it began with")]
    Masks,
    /// The run trains on other data.
    #[error("the run trains on {stored}, not on {given}")]
    Dataset {
        /// The run's.
        stored: String,
        /// The one given.
        given: String,
    },
    /// The run began with another option.
    #[error(
        "the run has {option} = {stored}, not {given}; a resumed run keeps the options it began with, so leave {option} \
         out or begin a new run"
    )]
    Option {
        /// The option's name.
        option: String,
        /// The run's.
        stored: String,
        /// The one given.
        given: String,
    },
    /// The run minimises other terms.
    #[error("the run minimises {stored}, not {given}")]
    Terms {
        /// The run's.
        stored: String,
        /// Those given.
        given: String,
    },
    /// A term has other settings: another weight, another teacher.
    #[error("the run has {term} with {setting} = {stored}, not {given}; resume it as it began, or begin a new run")]
    Term {
        /// The term, by its column.
        term: String,
        /// What differs.
        setting: String,
        /// The run's.
        stored: String,
        /// The one given.
        given: String,
    },
    /// The terms have other tensors of their own.
    #[error("the terms of the run have tensors {stored}, those given {given}")]
    Tensors {
        /// The run's.
        stored: String,
        /// Those given.
        given: String,
    },
    /// The run has other hooks.
    #[error("the run has the hooks {stored}, not {given}")]
    Hooks {
        /// The run's.
        stored: String,
        /// Those given.
        given: String,
    },
}
