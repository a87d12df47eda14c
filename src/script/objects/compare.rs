//! Models beside each other.

use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, Map};

use super::Answer;
use super::bench::{bench_options, read_bench};
use super::metrics::{evaluate_options, read_evaluate};
use crate::data::Dataset;
use crate::eval::{self, Compare};
use crate::model::Model;
use crate::report::{Table, comparison};
use crate::script::engine::Api;
use crate::script::failure::{complain, raise};
use crate::script::options::{Kind, OptionSet};
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.options(&COMPARE);
    rhai::combine_with_exported_module!(&mut api.module, "compare", functions);
}

static COMPARE: LazyLock<OptionSet> = LazyLock::new(|| {
    let own = OptionSet::function("compare")
        .optional("data", Kind::object::<Dataset>(), "adds precision, recall and mAP on it")
        .flag("latency", true, "whether speed is measured, all models in turn");
    // `batch` is that of the speed measurement; evaluation keeps its own.
    let evaluation = evaluate_options(OptionSet::function("compare")).without("batch");
    own.and(bench_options(OptionSet::function("compare"))).and(evaluation)
});

fn compare_all(context: &NativeCallContext, models: &[Model], options: Map) -> Answer<Table> {
    let given = COMPARE.read(options)?;
    let mut evaluation =
        eval::EvaluateOptions { batch: eval::EvaluateOptions::default().batch, ..read_evaluate(&given) };
    evaluation.size = given.int("size");
    let bench = given.flag("latency").then(|| read_bench(&given));
    let data = given.given_object::<Dataset>("data");
    let what = Compare {
        size: given.int("size"),
        bench: bench.as_ref(),
        quality: data.as_ref().map(|data| (data, &evaluation)),
    };
    let mut rows =
        eval::compare(&models.iter().collect::<Vec<_>>(), what, State::of(context).progress.as_ref()).map_err(raise)?;
    for (at, row) in rows.iter_mut().enumerate() {
        // Models that come from one another have one name: the last thing done to them tells them apart.
        let twin = models.iter().enumerate().any(|(other, model)| other != at && model.provenance().name == row.name);
        if let Some(step) = models[at].provenance().history.last().filter(|_| twin) {
            row.name = format!("{} · {step}", row.name);
        }
    }
    Ok(comparison(&rows, given.int("size")))
}

#[export_module]
mod functions {
    /// A row for each model: parameters, MACs, size, latency, and with `data` also precision, recall and mAP; shares and
    /// speed-up are against the first. Takes up to four models, or an array of any number.
    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_array_with(context: NativeCallContext, models: Array, options: Map) -> Answer<Table> {
        let as_model = |value: Dynamic| {
            let kind = value.type_name();
            value
                .try_cast::<Model>()
                .ok_or_else(|| complain(format!("compare takes an array of Models; this holds {kind}")))
        };
        let models: Vec<Model> = models.into_iter().map(as_model).collect::<Answer<_>>()?;
        if models.is_empty() {
            return Err(complain("compare needs at least one model"));
        }
        compare_all(&context, &models, options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_array(context: NativeCallContext, models: Array) -> Answer<Table> {
        compare_array_with(context, models, Map::new())
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_2(context: NativeCallContext, a: Model, b: Model) -> Answer<Table> {
        compare_all(&context, &[a, b], Map::new())
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_2_with(context: NativeCallContext, a: Model, b: Model, options: Map) -> Answer<Table> {
        compare_all(&context, &[a, b], options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_3(context: NativeCallContext, a: Model, b: Model, c: Model) -> Answer<Table> {
        compare_all(&context, &[a, b, c], Map::new())
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_3_with(context: NativeCallContext, a: Model, b: Model, c: Model, options: Map) -> Answer<Table> {
        compare_all(&context, &[a, b, c], options)
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_4(context: NativeCallContext, a: Model, b: Model, c: Model, d: Model) -> Answer<Table> {
        compare_all(&context, &[a, b, c, d], Map::new())
    }

    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_4_with(
        context: NativeCallContext,
        a: Model,
        b: Model,
        c: Model,
        d: Model,
        options: Map,
    ) -> Answer<Table> {
        compare_all(&context, &[a, b, c, d], options)
    }
}
