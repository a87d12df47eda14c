//! What can go wrong with a sweep itself; a run that fails is one of its outcomes.

use std::path::PathBuf;

use thiserror::Error;

use crate::io::IoError;

/// What can go wrong with a sweep itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SweepError {
    /// There is nothing to try.
    #[error("a sweep needs values to try, such as #{{ macs: [0.25, 0.5] }}: `{0}` has none")]
    NoValues(String),
    /// A value that is no plain one.
    #[error("`{0}` of a sweep takes numbers, texts, flags or maps of these, or arrays of them")]
    NotPlain(String),
    /// A shard that there is not.
    #[error("shard is \"2/8\", the second of eight, or \"slurm\" inside of a job array, not {0:?}")]
    Shard(String),
    /// Slurm's variables are not there, or not as Slurm sets them.
    #[error("shard: \"slurm\" is for a Slurm job array (sbatch --array=1-8): {variable} {found}")]
    Slurm {
        /// The variable.
        variable: &'static str,
        /// What it is.
        found: String,
    },
    /// The folder is another sweep's.
    #[error("{} holds another sweep ({difference}); give this one another folder", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}
