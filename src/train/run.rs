//! What a run of training gives: the models and a row for each epoch.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::times::RunTimes;
use crate::{data::Dataset, model::Model, options::Value};

/// A finished, stopped or resumed run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The best model by validation, or the last where nothing was validated: averaged weights, where an average is
    /// kept.
    pub model: Model,
    /// The model after the last step, averaged likewise.
    pub last: Model,
    /// The epoch of the best validation, counted from 1.
    pub best: Option<usize>,
    /// Names of the training losses, as [`Epoch::losses`] lists them.
    pub parts: Vec<String>,
    /// Names of the validation losses, as [`Validation::losses`] lists them.
    pub validation_parts: Vec<String>,
    /// A row for each complete epoch.
    pub history: Vec<Epoch>,
    /// Seconds of training and validation, of all sessions of a resumed run together.
    pub seconds: f64,
    /// Where they went.
    pub times: RunTimes,
    /// The run's folder, where it has one.
    pub folder: Option<PathBuf>,
    /// Whether it ended before all epochs because somebody asked it to.
    pub stopped: bool,
    /// What it was made of.
    pub setup: Arc<Setup>,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The model as it was before the first step.
    pub model: Model,
    /// The dataset, with the labels that count.
    pub data: Dataset,
    /// Side of the square images in pixels.
    pub size: usize,
    /// Images a step.
    pub batch: usize,
    /// All options, those of the resumed run where it is one.
    pub settings: Vec<Setting>,
    /// The models that were imitated, if any.
    pub teachers: Vec<Model>,
    /// How they were imitated: options and their values, in words.
    pub imitation: Vec<String>,
}

/// An option of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// What it is, where it is given.
    pub value: Option<Value>,
    /// Whether it is what it is by default.
    pub default: bool,
}

impl Run {
    /// Seconds from the start until the first validation of at least this mAP50-95; none where it was not reached.
    pub fn reached(&self, map: f64) -> Option<f64> {
        let enough = |epoch: &&Epoch| epoch.validation.as_ref().is_some_and(|found| found.map >= map);
        self.history.iter().find(enough).map(|epoch| epoch.seconds)
    }
}

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Seconds since the run began.
    pub seconds: f64,
    /// Mean training losses, weighted.
    #[serde(deserialize_with = "numbers")]
    pub losses: Vec<f64>,
    /// The validation, where there was one.
    pub validation: Option<Validation>,
    /// Learning rates of the last step: biases, weights, normalisation scales.
    pub lr: [f32; 3],
    /// What hooks have to say of the averaged model, by name.
    #[serde(default)]
    pub figures: Vec<(String, f64)>,
}

/// How a model did on the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Precision over all classes, at the confidence of the best F1.
    #[serde(deserialize_with = "number")]
    pub precision: f64,
    /// Recall, likewise.
    #[serde(deserialize_with = "number")]
    pub recall: f64,
    /// Average precision at IoU 0.5.
    #[serde(deserialize_with = "number")]
    pub map50: f64,
    /// Average precision, mean over IoU 0.5 to 0.95.
    #[serde(deserialize_with = "number")]
    pub map: f64,
    /// Mean detection losses, weighted.
    #[serde(deserialize_with = "numbers")]
    pub losses: Vec<f64>,
}

impl Validation {
    /// What the best epoch is chosen by: 0.1 · mAP50 + 0.9 · mAP50-95, as YOLO's trainers do.
    pub fn fitness(&self) -> f64 {
        0.1 * self.map50 + 0.9 * self.map
    }
}

/// A number as JSON keeps it: what is not finite is `null` there, and not a number when read again.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A list of such numbers.
pub(super) fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let numbers: Vec<Option<f64>> = Vec::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
}

/// The history as `results.csv`, with the columns that Ultralytics writes, then those of hooks; cells of epochs
/// without validation are empty.
///
/// # Errors
/// Never in memory; the writer's own type has them.
pub(super) fn results_csv(parts: &[String], validation_parts: &[String], history: &[Epoch]) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["epoch".to_string(), "time".into()];
    header.extend(parts.iter().map(|part| format!("train/{part}")));
    header.extend(["precision", "recall", "mAP50", "mAP50-95"].map(|metric| format!("metrics/{metric}(B)")));
    header.extend(validation_parts.iter().map(|part| format!("val/{part}")));
    header.extend((0..3).map(|group| format!("lr/pg{group}")));
    header.extend(history.first().into_iter().flat_map(|row| &row.figures).map(|(name, _)| name.clone()));
    writer.write_record(&header)?;
    for row in history {
        let number = |value: f64| format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_string();
        let mut record = vec![row.epoch.to_string(), number(row.seconds)];
        record.extend(row.losses.iter().map(|&loss| number(loss)));
        match &row.validation {
            Some(found) => {
                record.extend([found.precision, found.recall, found.map50, found.map].map(number));
                record.extend(found.losses.iter().map(|&loss| number(loss)));
            }
            None => record.extend(vec![String::new(); 4 + validation_parts.len()]),
        }
        record.extend(row.lr.iter().map(|lr| format!("{lr}")));
        record.extend(row.figures.iter().map(|&(_, figure)| number(figure)));
        writer.write_record(&record)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_ultralytics_columns() {
        let validation = Validation { precision: 0.5, recall: 0.25, map50: 0.4, map: 0.2, losses: vec![0.1, 0.2, 0.3] };
        let figures = vec![("sparsity/zeros".to_owned(), 0.25)];
        let row =
            Epoch { epoch: 1, seconds: 1.5, losses: vec![0.4, 1.0], validation: None, lr: [0.1, 0.01, 0.01], figures };
        let parts = ["box_loss", "cwd_loss"].map(String::from);
        let validation_parts = ["box_loss", "cls_loss", "dfl_loss"].map(String::from);
        let history = [row.clone(), Epoch { epoch: 2, validation: Some(validation), ..row }];
        let text = String::from_utf8(results_csv(&parts, &validation_parts, &history).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "epoch,time,train/box_loss,train/cwd_loss,metrics/precision(B),metrics/recall(B),metrics/mAP50(B),\
             metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/dfl_loss,lr/pg0,lr/pg1,lr/pg2,sparsity/zeros"
        );
        assert_eq!(lines[1], "1,1.5,0.4,1,,,,,,,,0.1,0.01,0.01,0.25");
        assert_eq!(lines[2], "2,1.5,0.4,1,0.5,0.25,0.4,0.2,0.1,0.2,0.3,0.1,0.01,0.01,0.25");
    }
}
