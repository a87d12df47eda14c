//! Training in scripts.

use std::sync::LazyLock;

use rhai::Map;
use rhai::plugin::*;

use super::result::ScriptResult;
use crate::data::Dataset;
use crate::model::Model;
use crate::options::Value;
use crate::report::plot_run;
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::options::{Given, OptionSet};
use crate::script::state::State;
use crate::train::{FitOptions, Run, fit};

pub fn bind(api: &mut Api) {
    api.options(&FIT);
    api.functions(exported_manifest!(functions));
}

static FIT: LazyLock<OptionSet> = LazyLock::new(|| fit_options(OptionSet::method::<Model>("fit"), "runs/fit"));

/// How a model is trained; the run is kept in `folder` unless that is given.
pub fn fit_options(set: OptionSet, folder: &str) -> OptionSet {
    set.group::<FitOptions>().default("folder", Value::Text(folder.into()))
}

/// The training options that were given. A resumed run has a seed of its own.
pub fn read_fit(given: &Given) -> FitOptions {
    let options: FitOptions = given.group();
    match options.resume.is_some() && given.value("seed").is_none() {
        true => FitOptions { seed: FitOptions::default().seed, ..options },
        false => options,
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
        let options = read_fit(&FIT.read(options, state.seed())?);
        with_curves(fit(model, &data, &options, state.progress.as_ref()).map_err(raise)?)
    }
}
