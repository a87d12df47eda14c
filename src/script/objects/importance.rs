//! A script's function as a criterion of pruning.

use std::sync::OnceLock;

use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, Map, NativeCallContext};

use super::numbers::Numbers;
use super::result::ScriptResult;
use crate::prune::{GroupScores, OwnCriterion};
use crate::script::failure::{ErrorValue, raise_text};
use crate::script::object::short_text;
use crate::script::state::State;

/// The criterion that a script's function is. It may be called long after the call that it was given to, and so has what it
/// knew there, and an engine of its own.
pub fn criterion(
    context: &NativeCallContext,
    function: FnPtr,
) -> OwnCriterion<impl Fn(&GroupScores) -> Result<Vec<f64>, String> + Send + Sync + use<>> {
    let state = State::of(context);
    // Not deprecated, says its author, but free to change: tests hold it.
    #[allow(deprecated)]
    let context = context.store_data();
    let engine: OnceLock<Engine> = OnceLock::new();
    OwnCriterion::new(move |group| {
        #[allow(deprecated)]
        let context = context.create_context(engine.get_or_init(|| state.engine()));
        scores(&context, &function, group).map_err(|error| reason(*error))
    })
}

fn scores(context: &NativeCallContext, function: &FnPtr, group: &GroupScores) -> ScriptResult<Vec<f64>> {
    let whole = |number: u64| Dynamic::from(i64::try_from(number).unwrap_or(i64::MAX));
    let mut view = Map::new();
    view.insert("name".into(), group.name.clone().into());
    view.insert("size".into(), whole(group.size as u64));
    view.insert("macs".into(), whole(group.macs));
    view.insert("params".into(), whole(group.params));
    for (&name, scores) in &group.scores {
        view.insert(name.into(), Dynamic::from(Numbers(scores.clone())));
    }
    let given: Dynamic = function.call_within_context(context, (view,))?;
    let wrong = |_| raise_text(format!("it gave {}; give an array of numbers, one a channel", short_text(&given)));
    Ok(Numbers::of(&given).map_err(wrong)?.0)
}

/// What went wrong, without the calls that it went through.
pub fn reason(mut error: EvalAltResult) -> String {
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
        error = *inner;
    }
    match error {
        EvalAltResult::ErrorRuntime(value, _) => match value.read_lock::<ErrorValue>() {
            Some(error) => error.to_string(),
            None => value.clone().into_string().unwrap_or_else(|_| short_text(&value)),
        },
        other => other.to_string(),
    }
}
