//! What can be wrong with data: fatally ([`DataError`]) or with one file or line of it ([`Problem`]).

use std::fmt;
use std::path::PathBuf;

use crate::options::OptionError;

/// A dataset or image that cannot be used at all. The message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read.
    #[error("{}: cannot be read: {why}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// The text is not YAML, or not of the form of a `data.yaml`.
    #[error("{}: not a valid data.yaml: {why}", file.display())]
    Yaml {
        /// The file.
        file: PathBuf,
        /// The parser's reason, with the line.
        why: String,
    },
    /// `names` is missing, or doesn't number the classes from 0 without gaps, or disagrees with `nc`.
    #[error("{}: {what}", file.display())]
    Names {
        /// The file.
        file: PathBuf,
        /// What was expected and found.
        what: String,
    },
    /// A split that a dataset must have is not given, or its folder or list is not there, or holds no usable image.
    #[error("{}: split '{split}': {what}", file.display())]
    Split {
        /// The `data.yaml`.
        file: PathBuf,
        /// The split's name.
        split: String,
        /// What was expected, what was found, what to do.
        what: String,
    },
    /// A split was asked for that this dataset doesn't have.
    #[error("{dataset} has no split '{split}'; it has {}", have.join(", "))]
    NoSuchSplit {
        /// The dataset's name.
        dataset: String,
        /// The split asked for.
        split: String,
        /// The splits there are.
        have: Vec<String>,
    },
    /// An image could not be decoded.
    #[error("{}: {what}", file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// The decoder's reason.
        what: String,
    },
    /// Not one image of a whole epoch could be read.
    #[error("split '{split}': none of its {images} images can be read; the first problem: {first}")]
    NothingReadable {
        /// The split's name.
        split: String,
        /// How many images it lists.
        images: usize,
        /// The first of the problems met.
        first: String,
    },
    /// An option out of its range.
    #[error("{0}")]
    Option(#[from] OptionError),
    /// A batch could not be made into a tensor.
    #[error("a batch could not be made into a tensor: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The thread that prepares batches ended before the epoch did.
    #[error("the thread that prepares batches ended early: {0}")]
    Loader(String),
}

/// Something wrong with one file, or one line of it. The file or line was skipped; everything else is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, where the problem has one.
    pub line: Option<usize>,
    /// What was expected and what was found.
    pub what: String,
}

impl Problem {
    pub(crate) fn file(file: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, what: what.into() }
    }

    pub(crate) fn line(file: impl Into<PathBuf>, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: Some(line), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.what),
            None => write!(f, "{}: {}", self.file.display(), self.what),
        }
    }
}
