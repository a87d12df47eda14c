//! What a scan found.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        error::PruneError,
        groups::{Group, Groups},
        scan_error::ScanError,
    },
    options::{ScanOptions, ScanUnit},
};
use crate::{
    io::{load_json, save_json},
    model::{Model, digest},
};

/// What a scan found: a row a group, a cell for each thing that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Name of the model.
    pub model: String,
    /// Fingerprint of its tensors.
    pub digest: String,
    /// What the pruner was asked for, whose order of channels it is.
    pub asked: String,
    /// Name of the dataset.
    pub data: String,
    /// How many images were looked at.
    pub images: usize,
    /// How it was made.
    pub options: ScanOptions,
    /// Mean loss of an image, or mAP50-95, of the network as it is.
    pub base: f64,
    /// The groups, in graph order.
    pub rows: Vec<ScanRow>,
}

/// What was found for a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRow {
    /// The group's name.
    pub group: String,
    /// Its first convolution.
    pub layer: String,
    /// How many coupled channels it has.
    pub channels: usize,
    /// A cell for each ratio, or for each channel.
    pub cells: Vec<ScanCell>,
}

/// What leaving some channels out did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanCell {
    /// The channels of the group's layer that were left out.
    pub channels: Vec<usize>,
    /// Mean loss of an image, or mAP50-95, without them.
    pub value: f64,
    /// How much worse that is: the rise of the loss, or the fall of mAP50-95.
    pub drop: f64,
}

impl Scan {
    /// The row of a group.
    pub fn row(&self, group: &str) -> Option<&ScanRow> {
        self.rows.iter().find(|row| row.group == group)
    }

    /// What it costs to remove this share of a group's channels: the rise of the loss or the fall of mAP50-95, by straight
    /// lines between what was measured, from 0 at 0. It never falls as the share grows, is never negative, and goes on
    /// beyond the last share measured as before it. `None` for a group that was not scanned, or a scan of single channels.
    pub fn cost(&self, group: &str, share: f64) -> Option<f64> {
        if self.options.unit != ScanUnit::Group {
            return None;
        }
        self.row(group).map(|row| row.cost(share))
    }

    /// Checks that it is of this model.
    ///
    /// # Errors
    /// Names both models, and a group that only one of them has.
    pub fn check(&self, model: &Model) -> Result<(), PruneError> {
        let found = digest(model.tensors())?;
        if found == self.digest {
            return Ok(());
        }
        let groups = Groups::of(model.graph())?;
        let strange = self.rows.iter().find(|row| {
            let same = |group: &Group| group.name == row.group && group.coupled.len() == row.channels;
            !groups.all().iter().any(same)
        });
        let layers = strange
            .map_or(String::new(), |row| format!(", which has no group {} of {} channels", row.group, row.channels));
        let short = |digest: &str| digest.chars().take(8).collect();
        Err(PruneError::from(ScanError::OtherModel {
            scanned: self.model.clone(),
            scanned_digest: short(&self.digest),
            model: model.provenance().name.clone(),
            digest: short(&found),
            layers,
        }))
    }

    /// Writes it as JSON; what was there before is replaced only once the new file is complete.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PruneError> {
        Ok(save_json(path.as_ref(), self)?)
    }

    /// Reads a scan that [`Scan::save`] wrote.
    ///
    /// # Errors
    /// Where the file cannot be read or is no scan; says where.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PruneError> {
        Ok(load_json(path.as_ref(), "scan")?)
    }
}

impl ScanRow {
    /// As [`Scan::cost`].
    fn cost(&self, share: f64) -> f64 {
        let mut points: Vec<(f64, f64)> =
            self.cells.iter().map(|cell| (cell.channels.len() as f64 / self.channels as f64, cell.drop)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.insert(0, (0.0, 0.0));
        let mut highest = 0.0;
        for (_, drop) in &mut points {
            highest = f64::max(highest, *drop);
            *drop = highest;
        }
        points.dedup_by(|later, earlier| {
            let same = later.0 <= earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        let line = |pair: &[(f64, f64)]| {
            let [(x, y), (to_x, to_y)] = [pair[0], pair[1]];
            y + (to_y - y) * (share - x) / (to_x - x)
        };
        let pairs = || points.windows(2);
        let within = pairs().find(|pair| share <= pair[1].0).or_else(|| pairs().last());
        within.map_or(0.0, line).max(0.0)
    }
}
