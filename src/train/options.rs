//! What a run of training can be asked for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{error::TrainError, loss::Gains, optimizer::OptimizerKind};
use crate::{
    data::{Augment, Dataset},
    eval::check_size,
    exec::{self, ComputeDtype},
    model::Model,
    options::{OptionError, Options},
};

/// How the learning rate falls from `lr` to `lr · lrf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// In a straight line, epoch by epoch.
    #[default]
    Linear,
    /// Along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
}

/// How [`super::fit`] trains. The defaults suit the fine-tuning of a small dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitOptions {
    /// Passes over the training split.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Height and width of the images in pixels; a multiple of the model's largest stride.
    pub size: usize,
    /// What convolutions multiply. Weights, sums, statistics and validation are fp32 in any case.
    pub precision: ComputeDtype,
    /// Learning rate after warming up.
    pub lr: f32,
    /// Share of `lr` left at the end.
    pub lrf: f32,
    /// Which optimiser.
    pub optimizer: OptimizerKind,
    /// Momentum of SGD, β₁ of AdamW.
    pub momentum: f32,
    /// L2 penalty of SGD, decoupled decay of AdamW; of convolution weights only.
    pub weight_decay: f32,
    /// Epochs over which rates rise; a quarter of the run at most.
    pub warmup_epochs: f64,
    /// Learning rate that biases start from while warming up with SGD.
    pub warmup_bias_lr: f32,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// How images are varied.
    pub augment: Augment,
    /// Last epochs without mosaic.
    pub close_mosaic: usize,
    /// The gradient's global norm is cut to this; 0 for never.
    pub clip: f32,
    /// Weights of the detection loss's parts; those not given are [`Gains::for_training`]'s.
    pub gains: Gains,
    /// Whether a moving average of the weights is kept, validated and returned.
    pub ema: bool,
    /// Whether every epoch is validated (otherwise only the last one).
    pub validate: bool,
    /// Epochs without a better validation after which the run ends; 0 for never.
    pub patience: usize,
    /// Seed of data order and augmentation.
    pub seed: u64,
    /// Steps between checkpoints inside an epoch; 0 for one at each epoch's end only.
    pub checkpoint_every: usize,
    /// Folder of the run, such as `runs/fit`; a number is added where it exists already. `None` keeps nothing.
    pub folder: Option<PathBuf>,
    /// Folder of a run to resume, which then decides all other options.
    pub resume: Option<PathBuf>,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch: 16,
            size: 320,
            precision: ComputeDtype::Fp32,
            lr: 0.01,
            lrf: 0.01,
            optimizer: OptimizerKind::Sgd,
            momentum: 0.937,
            weight_decay: 5e-4,
            warmup_epochs: 3.0,
            warmup_bias_lr: 0.1,
            schedule: Schedule::Linear,
            augment: Augment::default(),
            close_mosaic: 10,
            clip: 10.0,
            gains: Gains::default(),
            ema: true,
            validate: true,
            patience: 0,
            seed: 0,
            checkpoint_every: 0,
            folder: None,
            resume: None,
        }
    }
}

impl FitOptions {
    /// Checks the options against their ranges, the model and the dataset.
    ///
    /// # Errors
    /// Names the first that does not fit, with what would.
    pub fn validate(&self, model: &Model, data: &Dataset) -> Result<(), TrainError> {
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let positive = |value: f32| value.is_finite() && value > 0.0;
        let rules = [
            ("epochs", self.epochs.to_string(), self.epochs > 0, "at least 1".to_string()),
            ("batch", self.batch.to_string(), (1..=4096).contains(&self.batch), "1 to 4096".into()),
            ("lr", self.lr.to_string(), positive(self.lr), "a number above 0".into()),
            ("lrf", self.lrf.to_string(), share(self.lrf), "0 to 1".into()),
            ("momentum", self.momentum.to_string(), (0.0..1.0).contains(&self.momentum), "0 to below 1".into()),
            ("weight_decay", self.weight_decay.to_string(), share(self.weight_decay), "0 to 1".into()),
            (
                "warmup_epochs",
                self.warmup_epochs.to_string(),
                self.warmup_epochs.is_finite() && self.warmup_epochs >= 0.0,
                "at least 0".into(),
            ),
            ("warmup_bias_lr", self.warmup_bias_lr.to_string(), share(self.warmup_bias_lr), "0 to 1".into()),
            ("clip", self.clip.to_string(), self.clip.is_finite() && self.clip >= 0.0, "at least 0".into()),
        ];
        for (option, found, holds, expected) in rules {
            if !holds {
                return Err(OptionError::value(option, expected, found).into());
            }
        }
        self.augment.check()?;
        check_size(model, self.size)?;
        exec::Backend::for_training(&model.device(), self.precision)?;
        let (model_classes, data_classes) = (&model.detector().classes, &data.names);
        if model_classes.len() != data_classes.len() {
            return Err(TrainError::Classes {
                model: model_classes.clone(),
                dataset: data.name.clone(),
                data: data_classes.clone(),
            });
        }
        Ok(())
    }
}
