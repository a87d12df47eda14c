//! The sensitivity scan: what leaving out a share of each group's channels, or each channel alone, does to loss or mAP.
//!
//! [`Pruner::sensitivity`](super::Pruner::sensitivity) measures; a [`Scan`] is what it found, a file, and the answer to
//! what a share of a group costs. Li et al. 2017 and Han et al. 2015 choose rates by such curves.

mod cells;
mod correlation;
mod cut;
mod found;
mod journal;
mod measure;
mod options;
mod record;

pub use correlation::{Correlation, spearman};

pub use found::{Scan, ScanCell, ScanRow};
pub use options::{ScanMetric, ScanOptions, ScanUnit};

#[cfg(test)]
mod tests;
