//! Whether and how a run can be gone on with.

use serde_json::Value;

use super::{
    FitOptions, Objective, TrainError,
    checkpoint::{self, Checkpoint},
    folder::RunFolder,
};
use crate::{data::Dataset, model::Model};

/// The options that a run will have: those given, or those of the run that `given.resume` names.
///
/// # Errors
/// A run that cannot be read, or that was begun with other options than are given.
pub fn effective_options(given: &FitOptions) -> Result<FitOptions, TrainError> {
    let Some(path) = &given.resume else { return Ok(given.clone()) };
    let stored = checkpoint::load(&RunFolder::open(path).checkpoint())?.options;
    merged(given, &stored)
}

/// The stored options; whatever was given must be the same or left at its default.
pub(super) fn merged(given: &FitOptions, stored: &FitOptions) -> Result<FitOptions, TrainError> {
    let Some(path) = &given.resume else { return Ok(stored.clone()) };
    let fail = |reason: String| TrainError::Resume { path: path.clone(), reason };
    let plain = |options: &FitOptions| match serde_json::to_value(options) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(fail("the options are no map".into())),
        Err(error) => Err(fail(error.to_string())),
    };
    let (given_map, stored_map, default) = (plain(given)?, plain(stored)?, plain(&FitOptions::default())?);
    for (key, value) in &given_map {
        let free = key == "resume" || key == "folder";
        if !free && Some(value) != stored_map.get(key) && Some(value) != default.get(key) {
            let found = stored_map.get(key).unwrap_or(&Value::Null);
            return Err(fail(format!(
                "the run has {key} = {found}, not {value}; a resumed run goes on with the options it began with, so \
                 leave {key} out or begin a new run"
            )));
        }
    }
    Ok(FitOptions { resume: given.resume.clone(), folder: stored.folder.clone(), ..stored.clone() })
}

/// Checks that a checkpoint is of this model, dataset and objective.
pub(super) fn check(
    checkpoint: &Checkpoint,
    folder: &RunFolder,
    model: &Model,
    data: &Dataset,
    objective: &Objective,
) -> Result<(), TrainError> {
    let fail = |reason: String| Err(TrainError::Resume { path: folder.checkpoint(), reason });
    if checkpoint.graph != *model.graph() || checkpoint.detector != *model.detector() {
        let name = &checkpoint.provenance.name;
        return fail(format!("the run trains another network (`{name}`); give the model that it began with"));
    }
    if checkpoint.dataset != data.name {
        return fail(format!("the run trains on {}, not on {}", checkpoint.dataset, data.name));
    }
    let parts = objective.part_names();
    if checkpoint.parts != parts {
        return fail(format!("the run minimises {}, not {}", checkpoint.parts.join(", "), parts.join(", ")));
    }
    let extra = Checkpoint::describe(&objective.tensors()?);
    if checkpoint.extra != extra {
        return fail(format!("the run's objective has tensors {:?}, this one has {extra:?}", checkpoint.extra));
    }
    Ok(())
}
