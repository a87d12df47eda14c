//! Whether a run can be resumed: with the same model, data, options, terms and hooks.

use serde_json::{Map, Value};

use super::{
    checkpoint::{self, Checkpoint, Identity, TermIdentity},
    checkpoint_error::CheckpointError,
    error::TrainError,
    folder::RunFolder,
    options::FitOptions,
};
use crate::model::Model;

/// The options that a run will have: those given, or those of the run that `given.resume` names.
///
/// # Errors
/// A run that cannot be read, or that was begun with other options than are given.
pub fn effective_options(given: &FitOptions) -> Result<FitOptions, TrainError> {
    let Some(path) = &given.resume else { return Ok(given.clone()) };
    let stored = checkpoint::load(&RunFolder::open(path).checkpoint())?.options;
    merged(given, &stored).map_err(|source| TrainError::Checkpoint { path: path.clone(), source })
}

/// The stored options; whatever was given must be the same or left at its default.
pub(super) fn merged(given: &FitOptions, stored: &FitOptions) -> Result<FitOptions, CheckpointError> {
    let map = |options: &FitOptions| -> Result<Map<String, Value>, CheckpointError> {
        Ok(serde_json::from_value(serde_json::to_value(options)?)?)
    };
    let (given_map, stored_map, default) = (map(given)?, map(stored)?, map(&FitOptions::default())?);
    for (option, value) in given_map {
        let free = option == "resume" || option == "folder";
        if !free && Some(&value) != stored_map.get(&option) && Some(&value) != default.get(&option) {
            let stored = stored_map.get(&option).unwrap_or(&Value::Null).to_string();
            return Err(CheckpointError::Option { option, stored, given: value.to_string() });
        }
    }
    Ok(FitOptions { resume: given.resume.clone(), backend: given.backend, rows: given.rows.clone(), ..stored.clone() })
}

/// Checks that a checkpoint is of the run that would be begun with this model and this identity.
pub(super) fn check(checkpoint: &Checkpoint, model: &Model, given: &Identity) -> Result<(), CheckpointError> {
    let stored = &checkpoint.identity;
    if checkpoint.graph != *model.graph() || checkpoint.detector != *model.detector() {
        return Err(CheckpointError::Network { name: checkpoint.provenance.name.clone() });
    }
    if stored.masks != given.masks {
        return Err(CheckpointError::Masks);
    }
    if stored.dataset != given.dataset {
        let (stored, given) = (stored.dataset.clone(), given.dataset.clone());
        return Err(CheckpointError::Dataset { stored, given });
    }
    check_terms(&stored.terms, &given.terms)?;
    if stored.tensors != given.tensors {
        let text = |identity: &Identity| format!("{:?}", identity.tensors);
        return Err(CheckpointError::Tensors { stored: text(stored), given: text(given) });
    }
    if stored.hooks != given.hooks {
        let text = |identity: &Identity| identity.hooks.join(", ");
        return Err(CheckpointError::Hooks { stored: text(stored), given: text(given) });
    }
    Ok(())
}

fn check_terms(stored: &[TermIdentity], given: &[TermIdentity]) -> Result<(), CheckpointError> {
    let names = |terms: &[TermIdentity]| terms.iter().map(|term| term.parts.join(", ")).collect::<Vec<_>>();
    let (stored_names, given_names) = (names(stored), names(given));
    if stored_names != given_names {
        return Err(CheckpointError::Terms { stored: stored_names.join(", "), given: given_names.join(", ") });
    }
    for ((stored, given), term) in stored.iter().zip(given).zip(stored_names) {
        if let Some((setting, stored, given)) = difference("settings", &stored.settings, &given.settings) {
            let (stored, given) = (stored.to_string(), given.to_string());
            return Err(CheckpointError::Term { term, setting, stored, given });
        }
    }
    Ok(())
}

/// The first place where two values differ, by the name that it has in them.
fn difference(name: &str, a: &Value, b: &Value) -> Option<(String, Value, Value)> {
    match (a, b) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
            keys.into_iter().find_map(|key| difference(key, &a[key.as_str()], &b[key.as_str()]))
        }
        _ if a == b => None,
        _ => Some((name.to_owned(), a.clone(), b.clone())),
    }
}
