//! What a scan can be asked for.

use std::path::PathBuf;

use crate::options::{SPLITS, option_names, options};

/// What is left out at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanUnit {
    /// The lowest-scored share of a group's coupled channels, for each of the ratios.
    #[default]
    Group,
    /// Each coupled channel alone: the oracle that criteria try to guess (Molchanov et al. 2017).
    Channel,
}
option_names!(ScanUnit, "unit": Group = "group", Channel = "channel");

/// What is measured without the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanMetric {
    /// The detection loss, with the running averages of the normalisations: how much it rises.
    #[default]
    Loss,
    /// mAP50-95, as `evaluate` has it: how much it falls.
    Map,
}
option_names!(ScanMetric, "metric": Loss = "loss", Map = "map");

impl ScanMetric {
    /// How much worse a value is than that of the network as it is.
    pub(super) fn drop(self, base: f64, value: f64) -> f64 {
        match self {
            Self::Loss => value - base,
            Self::Map => base - value,
        }
    }
}

options! {
    /// How a sensitivity scan is made.
    #[serde(default)]
    pub struct ScanOptions {
        /// What is left out at once: of each group a share for each ratio, or each channel alone (the oracle).
        pub unit: ScanUnit = ScanUnit::default();
        /// Shares of a group's coupled channels that are left out, lowest-scored first; for unit group.
        pub ratios: Vec<f64> = vec![0.1, 0.3, 0.5, 0.7, 0.9], 0.0..=1.0;
        /// Patterns of layers whose groups are scanned; all unless given.
        pub layers: Vec<String> = Vec::new();
        /// Whether the rise of the detection loss is measured, or the fall of mAP50-95.
        pub metric: ScanMetric = ScanMetric::default();
        /// Images to look at, from the start of the split; all if it has fewer.
        pub images: usize = 32, 1..=1_000_000;
        /// The split they are from; its labels count.
        pub split: String = "val".into(), SPLITS;
        /// Side of the square images in pixels; a multiple of the model's largest stride.
        pub size: usize = 640, 32..=8192;
        /// Images a batch; what lies before the groups is kept in memory for one batch.
        pub batch: usize = 8, 1..=4096;
        /// A folder for a journal, from which a scan that was interrupted goes on.
        pub folder: Option<PathBuf> = None;
        /// Whether what lies before a group is computed once a batch for all; off only to check that.
        pub reuse: bool = true;
    }
}
