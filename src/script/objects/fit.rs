//! Training in scripts.

use std::sync::LazyLock;

use rhai::Map;
use rhai::plugin::*;

use super::pruner::ShownPlan;
use super::result::ScriptResult;
use crate::data::{Augment, Dataset};
use crate::model::Model;
use crate::options::{Options, Value, options};
use crate::prune::{coupled_rows, planned_rows};
use crate::report::{plot_run, plot_scales};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::options::{Given, OptionSet};
use crate::script::state::State;
use crate::train::{FitOptions, Run, Sparsity, fit};

pub fn bind(api: &mut Api) {
    api.options(&FIT);
    api.functions(exported_manifest!(functions));
}

static FIT: LazyLock<OptionSet> = LazyLock::new(|| fit_options(OptionSet::method::<Model>("fit"), "runs/fit"));

options! {
    struct Augmentation {
        /// Whether images are varied at all; false for all as they are, fitted into the square.
        pub augment: bool = true;
    }
}

/// How a model is trained; the run is kept in `folder` unless that is given.
pub fn fit_options(set: OptionSet, folder: &str) -> OptionSet {
    let set = set.group::<FitOptions>().group::<Augmentation>().default("folder", Value::Text(folder.into()));
    set.object::<ShownPlan>("plan", "what sparsity growing shrinks: the channels that the plan removes")
}

/// The training options that were given for a model. A resumed run has a seed of its own.
pub fn read_fit(given: &Given, model: &Model) -> ScriptResult<FitOptions> {
    let mut options: FitOptions = given.group();
    if options.resume.is_some() && given.value("seed").is_none() {
        options.seed = FitOptions::default().seed;
    }
    if !given.group::<Augmentation>().augment {
        if let Some((kind, _)) = options.augment.entries().iter().find(|(kind, _)| given.value(kind).is_some()) {
            return Err(given.wrong("augment", &format!("true where an augmentation is given, such as `{kind}`")));
        }
        options.augment = Augment::none();
    }
    let plan = given.object::<ShownPlan>("plan");
    options.rows = match (plan, options.sparsity) {
        (Some(shown), Some(Sparsity::Growing)) => Some(planned_rows(model, &shown.plan).map_err(raise)?),
        // The run that is resumed may be one of sparsity growing.
        (Some(shown), None) if options.resume.is_some() => Some(planned_rows(model, &shown.plan).map_err(raise)?),
        (Some(_), _) => return Err(given.wrong("plan", "a Plan together with sparsity: \"growing\"")),
        (None, Some(Sparsity::Growing)) if options.resume.is_none() => {
            return Err(given.wrong("sparsity", "\"growing\" together with a plan, such as plan: p.plan()"));
        }
        (None, Some(Sparsity::GroupLasso)) => Some(coupled_rows(model).map_err(raise)?),
        (None, _) => None,
    };
    Ok(options)
}

/// Adds the curves to a run's folder, and of sparse training the normalisation scales before and after.
pub fn with_curves(run: Run, before: &Model) -> ScriptResult<Run> {
    if let Some(folder) = run.folder.as_ref().filter(|_| !run.history.is_empty()) {
        let sparse = run.history.iter().any(|row| row.figures.iter().any(|(name, _)| name.starts_with("sparsity/")));
        for format in ["svg", "png"] {
            plot_run(&run, &folder.join(format!("curves.{format}"))).map_err(raise)?;
            if sparse {
                plot_scales(before, &run.last, &folder.join(format!("scales.{format}"))).map_err(raise)?;
            }
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
        let options = read_fit(&FIT.read(options, state.seed())?, model)?;
        with_curves(fit(model, &data, &options, state.progress.as_ref()).map_err(raise)?, model)
    }
}

#[cfg(test)]
mod tests {
    use rhai::{Dynamic, EvalAltResult};

    use super::*;
    use crate::model::fixtures::tiny_detector;
    use crate::script::failure::ErrorValue;

    #[test]
    fn images_stay_as_they_are_without_augmentation() {
        let read = |options: &[(&str, Dynamic)]| {
            let options = options.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
            read_fit(&FIT.read(options, 0)?, &tiny_detector(2)).map(|options| options.augment)
        };
        let off = ("augment", Dynamic::FALSE);
        assert_eq!(read(&[]).unwrap(), Augment::default());
        assert_eq!(read(std::slice::from_ref(&off)).unwrap(), Augment::none());
        let EvalAltResult::ErrorRuntime(error, _) = *read(&[off, ("fliplr", 0.5.into())]).unwrap_err() else {
            panic!()
        };
        let error = error.cast::<ErrorValue>();
        assert!(error.option.as_deref() == Some("augment") && error.chain[0].contains("`fliplr`"), "{error:?}");
    }
}
