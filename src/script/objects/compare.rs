//! Models beside each other.

use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, Map};

use super::result::ScriptResult;
use crate::data::Dataset;
use crate::eval::{self, BenchOptions, Compare, EvaluateOptions};
use crate::model::Model;
use crate::options::options;
use crate::report::{Table, comparison};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.options(&COMPARE);
    api.functions(exported_manifest!(functions));
}

static COMPARE: LazyLock<OptionSet> = LazyLock::new(|| {
    // `size` and `batch` are those of the speed measurement first; evaluation has the same size and its own batch.
    OptionSet::function("compare")
        .object::<Dataset>("data", "adds precision, recall and mAP on it")
        .group::<LatencyOption>()
        .group::<BenchOptions>()
        .group::<EvaluateOptions>()
});

options! {
    struct LatencyOption {
        /// Whether speed is measured, all models in turn.
        pub latency: bool = true;
    }
}

fn compare_all(context: &NativeCallContext, models: &[Model], options: Map) -> ScriptResult<Table> {
    let state = State::of(context);
    let given = COMPARE.read(options, state.seed())?;
    let bench: BenchOptions = given.group();
    let evaluation = EvaluateOptions { batch: EvaluateOptions::default().batch, ..given.group() };
    let data = given.object::<Dataset>("data");
    let what = Compare {
        size: bench.size,
        bench: given.group::<LatencyOption>().latency.then_some(&bench),
        quality: data.as_ref().map(|data| (data, &evaluation)),
    };
    let mut rows = eval::compare(&models.iter().collect::<Vec<_>>(), what, state.progress.as_ref()).map_err(raise)?;
    for (at, row) in rows.iter_mut().enumerate() {
        // Models that come from one another have one name: the last thing done to them tells them apart.
        let twin = models.iter().enumerate().any(|(other, model)| other != at && model.provenance().name == row.name);
        if let Some(step) = models[at].provenance().history.last().filter(|_| twin) {
            row.name = format!("{} · {step}", row.name);
        }
    }
    Ok(comparison(&rows, bench.size))
}

#[export_module(manifest)]
mod functions {
    /// A row for each model: parameters, MACs, size, latency, and with `data` also precision, recall and mAP; shares and
    /// speed-up are against the first. Takes up to four models, or an array of any number.
    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_array(context: NativeCallContext, models: Array, options: Map) -> ScriptResult<Table> {
        let as_model = |value: Dynamic| {
            let kind = value.type_name();
            value
                .try_cast::<Model>()
                .ok_or_else(|| raise_text(format!("compare takes an array of Models; this holds {kind}")))
        };
        let models: Vec<Model> = models.into_iter().map(as_model).collect::<ScriptResult<_>>()?;
        if models.is_empty() {
            return Err(raise_text("compare needs at least one model"));
        }
        compare_all(&context, &models, options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_2(context: NativeCallContext, a: Model, b: Model, options: Map) -> ScriptResult<Table> {
        compare_all(&context, &[a, b], options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_3(context: NativeCallContext, a: Model, b: Model, c: Model, options: Map) -> ScriptResult<Table> {
        compare_all(&context, &[a, b, c], options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_4(
        context: NativeCallContext,
        a: Model,
        b: Model,
        c: Model,
        d: Model,
        options: Map,
    ) -> ScriptResult<Table> {
        compare_all(&context, &[a, b, c, d], options)
    }
}
