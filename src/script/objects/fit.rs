//! Training in scripts.

use std::path::PathBuf;
use std::sync::LazyLock;

use rhai::Map;
use rhai::plugin::*;

use super::model::short;
use super::result::ScriptResult;
use crate::data::{Augment, Dataset};
use crate::exec::ComputeDtype;
use crate::model::Model;
use crate::options::Kind;
use crate::report::plot_run;
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::options::{Given, OptionSet};
use crate::script::state::State;
use crate::train::loss::Gains;
use crate::train::{FitOptions, OptimizerKind, Run, Schedule, fit};

pub fn bind(api: &mut Api) {
    api.options(&FIT);
    api.functions(exported_manifest!(functions));
}

static FIT: LazyLock<OptionSet> = LazyLock::new(|| fit_options(OptionSet::method::<Model>("fit"), "runs/fit"));

/// How a model is trained; the run is kept in `folder` unless that is given.
pub fn fit_options(set: OptionSet, folder: &'static str) -> OptionSet {
    let default = FitOptions::default();
    let Augment { mosaic, scale, translate, fliplr, flipud, hsv_h, hsv_s, hsv_v } = default.augment;
    let (share, weight) = (0.0..=1.0, 0.0..=1000.0);
    let optimizer = if default.optimizer == OptimizerKind::Sgd { "sgd" } else { "adamw" };
    let schedule = if default.schedule == Schedule::Linear { "linear" } else { "cosine" };
    set.int("epochs", 1..=100_000, default.epochs as i64, "passes over the split train")
        .int("batch", 1..=4096, default.batch as i64, "images a step")
        .int("size", 32..=8192, default.size as i64, "side of the square images in pixels")
        .one_of("precision", &PRECISIONS, "fp32", PRECISION)
        .float("lr", 1e-9..=10.0, short(default.lr), "learning rate after warming up")
        .float("lrf", share.clone(), short(default.lrf), "share of lr left at the end")
        .one_of("optimizer", &["sgd", "adamw"], optimizer, "SGD with Nesterov momentum, or AdamW")
        .one_of("schedule", &["linear", "cosine"], schedule, "how the learning rate falls")
        .float("momentum", 0.0..=0.9999, short(default.momentum), "of SGD; the first beta of AdamW")
        .float("weight_decay", share.clone(), short(default.weight_decay), "of convolution weights only")
        .float("warmup_epochs", 0.0..=1000.0, default.warmup_epochs, "epochs over which rates rise")
        .float("warmup_bias_lr", share.clone(), short(default.warmup_bias_lr), "rate that biases start from with SGD")
        .float("clip", 0.0..=f64::MAX, short(default.clip), "the gradient's norm is cut to this; 0 for never")
        .flag("ema", default.ema, "whether a moving average of the weights is kept, validated and returned")
        .flag("validate", default.validate, "whether every epoch is validated, or only the last")
        .int(
            "patience",
            0..=100_000,
            default.patience as i64,
            "epochs without a better validation that end the run; 0 for never",
        )
        .float("mosaic", share.clone(), short(mosaic), "probability of composing an image of four")
        .int("close_mosaic", 0..=100_000, default.close_mosaic as i64, "last epochs without mosaic")
        .float("scale", 0.0..=0.9, short(scale), "images vary in size by 1 ± this")
        .float("translate", 0.0..=0.9, short(translate), "and shift by this share at most")
        .float("fliplr", share.clone(), short(fliplr), "probability of a left-right flip")
        .float("flipud", share.clone(), short(flipud), "probability of an upside-down flip")
        .float("hsv_h", share.clone(), short(hsv_h), "variation of the hue")
        .float("hsv_s", share.clone(), short(hsv_s), "variation of the saturation")
        .float("hsv_v", share, short(hsv_v), "variation of the brightness")
        .optional("box_gain", Kind::Number(weight.clone()), "weight of the box loss; the family's own otherwise")
        .optional("class_gain", Kind::Number(weight.clone()), "weight of the class loss; the family's own otherwise")
        .optional("objectness_gain", Kind::Number(weight.clone()), "weight of the objectness loss (YOLOv5)")
        .optional("dfl_gain", Kind::Number(weight), "weight of the distribution focal loss (YOLOv8)")
        .optional("seed", Kind::Int(0..=i64::MAX), "of data order and augmentation; otherwise that of seed(n)")
        .text("folder", folder, "where the run is kept, numbered when it exists; \"\" keeps nothing")
        .int(
            "checkpoint_every",
            0..=i64::MAX,
            default.checkpoint_every as i64,
            "steps between checkpoints inside an epoch; 0 for none",
        )
        .optional("resume", Kind::Text, "folder of a run to go on with, which then decides all other options")
}

/// What convolutions can multiply in training.
pub const PRECISIONS: [&str; 2] = ["fp32", "bf16"];

/// What the option does.
pub const PRECISION: &str = "what convolutions multiply in training; bf16 needs a CPU with AVX-512 BF16";

/// The precision that was read.
pub fn read_precision(options: &Given) -> ComputeDtype {
    if options.text("precision") == "bf16" { ComputeDtype::Bf16 } else { ComputeDtype::Fp32 }
}

/// The training options that were read.
pub fn read_fit(options: &Given, state: &State) -> FitOptions {
    let single = |key: &str| options.float(key) as f32;
    let gain = |key: &str| options.given_float(key).map(|gain| gain as f32);
    let resume = options.given_text("resume").map(PathBuf::from);
    let folder = options.text("folder");
    let seed = match &resume {
        // A resumed run goes on with its own seed.
        Some(_) => FitOptions::default().seed,
        None => state.seed(),
    };
    FitOptions {
        epochs: options.int("epochs"),
        batch: options.int("batch"),
        size: options.int("size"),
        precision: read_precision(options),
        lr: single("lr"),
        lrf: single("lrf"),
        optimizer: if options.text("optimizer") == "adamw" { OptimizerKind::AdamW } else { OptimizerKind::Sgd },
        momentum: single("momentum"),
        weight_decay: single("weight_decay"),
        warmup_epochs: options.float("warmup_epochs"),
        warmup_bias_lr: single("warmup_bias_lr"),
        schedule: if options.text("schedule") == "cosine" { Schedule::Cosine } else { Schedule::Linear },
        augment: Augment {
            mosaic: single("mosaic"),
            scale: single("scale"),
            translate: single("translate"),
            fliplr: single("fliplr"),
            flipud: single("flipud"),
            hsv_h: single("hsv_h"),
            hsv_s: single("hsv_s"),
            hsv_v: single("hsv_v"),
        },
        close_mosaic: options.int("close_mosaic"),
        clip: single("clip"),
        gains: Gains {
            bbox: gain("box_gain"),
            class: gain("class_gain"),
            objectness: gain("objectness_gain"),
            distribution: gain("dfl_gain"),
        },
        ema: options.flag("ema"),
        validate: options.flag("validate"),
        patience: options.int("patience"),
        seed: options.given_int("seed").unwrap_or(seed),
        checkpoint_every: options.int("checkpoint_every"),
        folder: (!folder.is_empty()).then(|| folder.into()),
        resume,
        ..FitOptions::default()
    }
}

/// Adds the curves to a run's folder.
pub fn with_curves(run: Run) -> ScriptResult<Run> {
    if let Some(folder) = run.folder.as_ref().filter(|_| !run.history.is_empty()) {
        for name in ["curves.svg", "curves.png"] {
            plot_run(&run, &folder.join(name)).map_err(raise)?;
        }
    }
    Ok(run)
}

#[export_module(manifest)]
mod functions {
    /// Trains the model on a dataset's split train and validates it on val after each epoch. The model itself stays as it
    /// is: the run has the trained one. Ctrl-C ends the run after the current batch and gives what there is.
    #[rhai_fn(name = "fit", pure, return_raw)]
    pub fn fit_with(context: NativeCallContext, model: &mut Model, data: Dataset, options: Map) -> ScriptResult<Run> {
        let state = State::of(&context);
        let options = read_fit(&FIT.read(options, state.seed())?, &state);
        with_curves(fit(model, &data, &options, state.progress.as_ref()).map_err(raise)?)
    }
}
