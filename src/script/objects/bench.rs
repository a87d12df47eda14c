//! How fast models are.

use std::sync::LazyLock;

use rhai::Map;
use rhai::plugin::*;
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::distill::Distiller;
use crate::eval::{BenchOptions, BenchReport};
use crate::model::Model;
use crate::options::options;
use crate::report::{Order, Table, View, bench_layers, bench_report};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;
use crate::train::{Objective, loss::Gains};

pub fn bind(api: &mut Api) {
    api.object::<Bench>().options(&BENCH).options(&DISTILL);
    api.functions(exported_manifest!(functions));
}

static BENCH: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<Model>("bench").group::<BenchOptions>().group::<TrainOption>());

static DISTILL: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Distiller>("bench").group::<BenchOptions>());

options! {
    struct TrainOption {
        /// A step of training instead of inference: forward, loss, backward, optimiser, average.
        pub train: bool = false;
    }
}

/// A measurement, and what was measured.
#[derive(Clone)]
pub struct Bench {
    title: String,
    report: BenchReport,
}

impl Bench {
    /// Of what the title says.
    pub fn new(title: String, report: BenchReport) -> Self {
        Self { title, report }
    }

    fn layers(&self) -> Table {
        bench_layers(&self.title, &self.report)
    }
}

/// Layers that are shown; those that take longest.
const SHOWN: usize = 12;

impl Object for Bench {
    const NAME: &'static str = "Bench";

    fn show(&self, view: View) -> String {
        let whole = bench_report(&self.title, &self.report).render(view);
        let layers = self.layers().sort("seconds", Order::Notable).map(|layers| layers.top(SHOWN).render(view));
        match layers {
            Ok(layers) if !self.report.layers.is_empty() => {
                format!("{whole}\n\n{layers}\nthe {SHOWN} that take longest; .layers has all")
            }
            _ => whole,
        }
    }

    fn json(&self) -> Value {
        let report = &self.report;
        json!({
            "bench": self.title,
            "seconds": report.timing.median(),
            "spread": report.timing.spread(),
            "fastest": report.timing.range()[0],
            "slowest": report.timing.range()[1],
            "precision": report.precision.name(),
            "instructions": report.instructions,
            "size": report.size,
            "batch": report.batch,
            "threads": report.threads,
            "runs": report.timing.runs(),
            "images_per_second": report.images_per_second,
            "macs_per_second": report.macs_per_second,
            "peak_flops": report.peak_flops,
            "peak_mib": report.peak_memory.map(|bytes| bytes >> 20),
            "layers": self.layers().json_rows(),
        })
    }
}

#[export_module(manifest)]
mod functions {
    /// How fast the model is, as a whole and layer by layer: median and spread of the time a batch takes, images a
    /// second, share of what the processor could compute, peak memory. With `train: true`, a step of training.
    #[rhai_fn(pure, return_raw)]
    pub fn bench(context: NativeCallContext, model: &mut Model, options: Map) -> ScriptResult<Bench> {
        let state = State::of(&context);
        let given = BENCH.read(options, state.seed())?;
        let (options, progress) = (given.group::<BenchOptions>(), state.progress.as_ref());
        let name = &model.provenance().name;
        if !given.group::<TrainOption>().train {
            let report = crate::eval::bench(&*model, &options, progress).map_err(raise)?;
            return Ok(Bench { title: format!("{name}, inference"), report });
        }
        let gains = Gains::default().for_training(model.detector(), options.size);
        let objective = Objective::detection(model.detector(), &gains).map_err(raise)?;
        let report = crate::train::bench(model, &objective, &options, progress).map_err(raise)?;
        Ok(Bench { title: format!("{name}, training"), report })
    }

    /// How long a step of distillation takes: the teacher's inference and a step of the student's training. The layers
    /// are the student's.
    #[rhai_fn(name = "bench", pure, return_raw)]
    pub fn distiller_bench(context: NativeCallContext, distiller: &mut Distiller, options: Map) -> ScriptResult<Bench> {
        let state = State::of(&context);
        let given = DISTILL.read(options, state.seed())?;
        let report = distiller.bench(&given.group(), state.progress.as_ref()).map_err(raise)?;
        Ok(Bench { title: format!("{}, distillation", distiller.student().provenance().name), report })
    }

    /// The median of the seconds that a batch takes.
    #[rhai_fn(get = "seconds", pure)]
    pub fn bench_seconds(bench: &mut Bench) -> f64 {
        bench.report.timing.median()
    }

    /// Seconds of the fastest run.
    #[rhai_fn(get = "fastest", pure)]
    pub fn bench_fastest(bench: &mut Bench) -> f64 {
        bench.report.timing.range()[0]
    }

    /// Images a second at the median.
    #[rhai_fn(get = "images_per_second", pure)]
    pub fn bench_images_per_second(bench: &mut Bench) -> f64 {
        bench.report.images_per_second
    }

    /// The measurement as a whole, in one row.
    #[rhai_fn(name = "table", pure)]
    pub fn bench_table(bench: &mut Bench) -> Table {
        bench_report(&bench.title, &bench.report)
    }

    /// A row for each layer: seconds forwards and backwards, and operations a second. Empty on devices other than the
    /// CPU.
    #[rhai_fn(get = "layers", pure)]
    pub fn bench_layer_rows(bench: &mut Bench) -> Table {
        bench.layers()
    }
}
