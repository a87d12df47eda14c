//! Many runs that differ in their settings: a grid of them, shared among processes, kept run by run, and summed up.

mod error;
mod grid;
mod journal;
mod outcome;
mod shard;

pub use error::SweepError;
pub use grid::{Grid, Job, Settings};
pub use journal::Journal;
pub use outcome::{Figures, Outcome, Point, Statistic, figures_of, points};
pub use shard::Shard;
