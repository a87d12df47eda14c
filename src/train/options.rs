//! What a run of training can be asked for.

use std::path::PathBuf;

use candle_core::Device;

use super::{
    error::TrainError,
    loss::Gains,
    optimizer::OptimizerKind,
    run::Setting,
    sparsity::{RowSets, Sparsity},
};
use crate::{
    data::{Augment, Dataset},
    exec::{Backend, ComputeDtype, ExecError},
    model::Model,
    options::{Field, OptionError, Options, Spec, Value, option_names, options},
};

/// How the learning rate falls from `lr` to `lr · lrf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// In a straight line, epoch by epoch.
    #[default]
    Linear,
    /// Along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
}

option_names!(Schedule, "schedule": Linear = "linear", Cosine = "cosine");

options! {
    /// How [`super::fit`] trains. The defaults suit the fine-tuning of a small dataset.
    #[serde(default, deny_unknown_fields)]
    pub struct FitOptions {
        /// Passes over the training split.
        pub epochs: usize = 30, 1..=100_000;
        /// Images a step.
        pub batch: usize = 16, 1..=4096;
        /// Side of the square images in pixels; a multiple of the model's largest stride.
        pub size: usize = 320, 32..=8192;
        /// What convolutions multiply; weights, sums, statistics and validation are fp32 in any case, and bf16 needs a
        /// CPU with AVX-512 BF16.
        pub precision: ComputeDtype = ComputeDtype::Fp32;
        /// Learning rate after warming up.
        pub lr: f32 = 0.01, 1e-9..=10.0;
        /// Share of `lr` left at the end.
        pub lrf: f32 = 0.01, 0.0..=1.0;
        /// SGD with Nesterov momentum, or AdamW.
        pub optimizer: OptimizerKind = OptimizerKind::Sgd;
        /// How the learning rate falls.
        pub schedule: Schedule = Schedule::Linear;
        /// Momentum of SGD, β₁ of AdamW.
        pub momentum: f32 = 0.937, 0.0..=0.9999;
        /// L2 penalty of SGD, decoupled decay of AdamW; of convolution weights only.
        pub weight_decay: f32 = 5e-4, 0.0..=1.0;
        /// Epochs over which rates rise; a quarter of the run at most.
        pub warmup_epochs: f64 = 3.0, 0.0..=1000.0;
        /// Learning rate that biases start from while warming up with SGD.
        pub warmup_bias_lr: f32 = 0.1, 0.0..=1.0;
        /// The gradient's global norm is cut to this; 0 for never.
        pub clip: f32 = 10.0, 0.0..=f32::MAX;
        /// Whether a moving average of the weights is kept, validated and returned.
        pub ema: bool = true;
        /// Whether every epoch is validated, or only the last.
        pub validate: bool = true;
        /// Epochs without a better validation after which the run ends; 0 for never.
        pub patience: usize = 0, 0..=100_000;
        /// How images are varied.
        pub augment: Augment = Augment::default();
        /// Last epochs without mosaic.
        pub close_mosaic: usize = 10, 0..=100_000;
        /// Weights of the detection loss's parts; those not given are [`Gains::for_training`]'s.
        pub gains: Gains = Gains::default();
        /// Penalty that drives weights to exact zeros: of weights (l1), normalisation scales (slimming), coupled channels
        /// (group_lasso), or what a plan will remove (growing).
        pub sparsity: Option<Sparsity> = None;
        /// Strength λ of the penalty: weights move by the learning rate times λ a step. Unless given 0.01 for l1 and
        /// group_lasso, 0.1 for slimming, 5 for growing.
        pub sparsity_strength: Option<f32> = None, 0.0..=1e6;
        /// Share of the run over which that strength rises from 0.
        pub sparsity_ramp: f32 = 0.5, 0.0..=1.0;
        /// Seed of data order and augmentation.
        pub seed: u64 = 0;
        /// Folder of the run, such as `runs/fit`, with a number added where it exists already; an empty text keeps nothing.
        pub folder: Option<PathBuf> = None;
        /// Steps between checkpoints inside an epoch; 0 for one at each epoch's end only.
        pub checkpoint_every: usize = 0;
        /// Folder of a run to resume, which then decides all other options.
        pub resume: Option<PathBuf> = None;
        /// What runs the steps; `None` for the fastest backend of the model's device. For users of the library: no option
        /// of scripts, and not kept in checkpoints.
        #[serde(skip)]
        pub backend: Option<Backend> = None;
        /// What group_lasso and growing penalise: see [`crate::prune::coupled_rows`] and [`crate::prune::planned_rows`]. A
        /// resumed run has them in its checkpoint. No option of scripts, which have a plan.
        #[serde(skip)]
        pub rows: Option<RowSets> = None;
    }
}

/// Fields that are no options of scripts.
macro_rules! no_option {
    ($($type:ty),+) => {$(
        impl Field for Option<$type> {
            type Limits = ();

            fn declare(&self, _: &'static str, _: &'static str, _: Option<()>, _: &mut Vec<Spec>) {}

            fn values(&self, _: &mut Vec<Option<Value>>) {}

            fn assign(&mut self, _: &str, _: &str, _: &Value) -> bool {
                false
            }
        }
    )+};
}
no_option!(Backend, RowSets);

impl FitOptions {
    /// The backend that runs the steps of a model on `device`.
    ///
    /// # Errors
    /// As [`Backend::in_dtype`].
    pub fn backend_for(&self, device: &Device) -> Result<Backend, ExecError> {
        self.backend.map_or_else(|| Backend::in_dtype(device, self.precision), Ok)
    }

    /// All options as a run tells them.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let entries = self.entries().into_iter().zip(Self::default().entries());
        entries.map(|((key, value), (_, default))| Setting { key, default: value == default, value }).collect()
    }

    /// Checks the options against their ranges, the model and the dataset.
    ///
    /// # Errors
    /// Names the first that does not fit, with what would.
    pub fn validate(&self, model: &Model, data: &Dataset) -> Result<(), TrainError> {
        self.check()?;
        self.check_sparsity()?;
        model.check_size(self.size)?;
        self.backend_for(&model.device())?;
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

    /// Whether what is said of sparsity goes together.
    fn check_sparsity(&self) -> Result<(), OptionError> {
        match (self.sparsity, self.sparsity_strength) {
            (None, Some(strength)) => {
                Err(OptionError::value("sparsity_strength", "a number where there is a sparsity", strength))
            }
            // A checkpoint has the rows.
            (Some(kind), _) if kind.needs_rows() && self.rows.is_none() && self.resume.is_none() => {
                let expected = "l1, slimming, or what is told the rows it penalises (growing: by a plan)";
                Err(OptionError::value("sparsity", expected, kind))
            }
            (None | Some(_), _) => Ok(()),
        }
    }
}
