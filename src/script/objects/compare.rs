//! Models beside each other.

use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, Map};

use super::onnx_model::Comparable;
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::eval::{self, BenchOptions, Compare, EvaluateOptions, Subject};
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

fn compare_all(context: &NativeCallContext, models: Vec<Dynamic>, options: Map) -> ScriptResult<Table> {
    let models = models.into_iter().map(Comparable::read).collect::<ScriptResult<Vec<_>>>()?;
    let subjects: Vec<Subject> = models.iter().map(Comparable::subject).collect();
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
    let mut rows = eval::compare(&subjects, what, state.progress.as_ref()).map_err(raise)?;
    for (at, row) in rows.iter_mut().enumerate() {
        // Models that come from one another have one name: the last thing done to them tells them apart.
        let twin = subjects.iter().enumerate().any(|(other, subject)| other != at && subject.name() == row.name);
        if let Some(step) = models[at].last_step().filter(|_| twin) {
            row.name = format!("{} · {step}", row.name);
        }
    }
    Ok(comparison(&rows, bench.size))
}

#[export_module(manifest)]
mod functions {
    /// A row for each Model or OnnxModel: parameters, MACs, size, latency, and with `data` also precision, recall and mAP; shares and
    /// speed-up are against the first. Takes up to four models, or an array of any number.
    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_array(context: NativeCallContext, models: Array, options: Map) -> ScriptResult<Table> {
        if models.is_empty() {
            return Err(raise_text("compare needs at least one model"));
        }
        compare_all(&context, models, options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_2(context: NativeCallContext, a: Dynamic, b: Dynamic, options: Map) -> ScriptResult<Table> {
        compare_all(&context, vec![a, b], options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_3(
        context: NativeCallContext,
        a: Dynamic,
        b: Dynamic,
        c: Dynamic,
        options: Map,
    ) -> ScriptResult<Table> {
        compare_all(&context, vec![a, b, c], options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_4(
        context: NativeCallContext,
        a: Dynamic,
        b: Dynamic,
        c: Dynamic,
        d: Dynamic,
        options: Map,
    ) -> ScriptResult<Table> {
        compare_all(&context, vec![a, b, c, d], options)
    }
}
