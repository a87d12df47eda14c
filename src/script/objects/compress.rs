//! Pruning and distillation in one call, in scripts.

use std::sync::LazyLock;

use rhai::Map;
use rhai::plugin::*;

use super::distiller::{distill_options, read_distill};
use super::fit::{fit_options, read_fit, with_curves};
use super::pruner::{prune_options, read_pruner};
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::distill::compress as prune_and_distil;
use crate::eval::ActivationOptions;
use crate::model::Model;
use crate::options::Value;
use crate::prune::{Gradual, GradualOptions, PruneData};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::options::OptionSet;
use crate::script::state::State;
use crate::train::FitOptions;

pub fn bind(api: &mut Api) {
    api.options(&COMPRESS);
    api.functions(exported_manifest!(functions));
}

static COMPRESS: LazyLock<OptionSet> = LazyLock::new(|| {
    let set = OptionSet::function("compress").group::<GradualOptions>();
    let set = set.default("steps", Value::Int(3)).default("epochs", Value::Int(30));
    // Of what several have, the first counts: schedule is that of the steps, size that of training.
    let set = prune_options(fit_options(set, "runs/compress"));
    distill_options(set).object::<Model>("teacher", "the model that is imitated; unless given the unpruned one")
});

#[export_module(manifest)]
mod functions {
    /// Makes a model smaller: prunes it in steps by the images of train, with distillation from the unpruned model after
    /// each step and, for `epochs`, in the end. `.model` is the best by validation, `.run` the training in the end. Takes the
    /// options of pruner, gradual, distiller and fit. Ctrl-C ends it after the current batch; `resume`, the folder, goes on.
    #[rhai_fn(return_raw)]
    pub fn compress(context: NativeCallContext, model: Model, data: Dataset, options: Map) -> ScriptResult<Gradual> {
        let state = State::of(&context);
        let given = COMPRESS.read(options, state.seed())?;
        let fit = read_fit(&given, &model)?;
        let images = PruneData { dataset: data.clone(), options: ActivationOptions::default() };
        let pruner = read_pruner(&context, &given, &model, Some(images))?;
        let options: (GradualOptions, _, FitOptions) = (given.group(), read_distill(&context, &given)?, fit);
        let (teacher, progress) = (given.object::<Model>("teacher"), state.progress.as_ref());
        let found = prune_and_distil(&pruner, teacher.as_ref(), &data, (&options.0, options.1, &options.2), progress);
        let mut found = found.map_err(raise)?;
        found.run = found.run.map(|run| with_curves(run, &model)).transpose()?;
        Ok(found)
    }
}
