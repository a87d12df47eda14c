//! What can go wrong in reporting.

use std::path::PathBuf;

use crate::nearest::did_you_mean;

/// What can go wrong in reporting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A column that the table hasn't.
    #[error("this table has no column \"{name}\"{}; its columns are {}", did_you_mean(name, columns.iter().map(String::as_str)), columns.join(", "))]
    UnknownColumn {
        /// The name asked for.
        name: String,
        /// The names there are.
        columns: Vec<String>,
    },
    /// A row that the table hasn't.
    #[error("row {index} was asked of a table of {rows} rows; rows count from 0, and from -1 backwards")]
    NoSuchRow {
        /// The index asked for.
        index: i64,
        /// How many rows there are.
        rows: usize,
    },
    /// A file that couldn't be written.
    #[error(transparent)]
    Write(#[from] crate::io::IoError),
    /// A plot whose file ending is neither `.svg` nor `.png`.
    #[error("cannot tell the picture format of {}: the name must end in .svg or .png", path.display())]
    PictureFormat {
        /// The file.
        path: PathBuf,
    },
    /// A picture whose file ending is of no format that can be written.
    #[error("cannot tell the picture format of {}: the name must end in .png, .jpg, .webp or .bmp", path.display())]
    PictureEnding {
        /// The file.
        path: PathBuf,
    },
    /// A plot without a single finite point.
    #[error("there is nothing to plot yet: no series has a finite value")]
    NothingToPlot,
    /// The drawing library refused.
    #[error("cannot draw {}: {message}", path.display())]
    Draw {
        /// The file.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// The drawing library refused a picture in memory.
    #[error("cannot draw the picture: {message}")]
    Picture {
        /// What it said.
        message: String,
    },
    /// The template of a page refused.
    #[error("cannot write the page: {message}")]
    Page {
        /// What it said.
        message: String,
    },
    /// A model that cannot be evaluated, or that was stopped in it.
    #[error(transparent)]
    Eval(#[from] crate::eval::EvalError),
    /// A model whose cost cannot be told.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// Numbers of a model that cannot be read.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The data to be shown.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
}

/// A result of this layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
