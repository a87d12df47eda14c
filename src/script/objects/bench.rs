//! How fast models are.

use std::sync::LazyLock;

use rhai::Map;
use rhai::plugin::*;
use serde_json::{Value, json};

use super::fit::{PRECISION, PRECISIONS, read_precision};
use super::{Answer, side};
use crate::distill::Distiller;
use crate::eval::{BenchOptions, BenchReport};
use crate::model::Model;
use crate::report::{Order, Table, View, bench_layers, bench_report};
use crate::script::engine::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::{Kind, OptionSet, Options};
use crate::script::state::State;
use crate::train::{Objective, loss::Gains};

pub fn bind(api: &mut Api) {
    api.object::<Bench>().options(&BENCH).options(&DISTILL);
    rhai::combine_with_exported_module!(&mut api.module, "bench", functions);
}

static BENCH: LazyLock<OptionSet> = LazyLock::new(|| {
    let train = "a step of training instead of inference: forwards, loss, backwards, optimiser, average";
    let set = bench_options(OptionSet::method::<Model>("bench")).flag("train", false, train);
    set.one_of("precision", &PRECISIONS, "fp32", PRECISION)
});

static DISTILL: LazyLock<OptionSet> = LazyLock::new(|| {
    bench_options(OptionSet::method::<Distiller>("bench")).one_of("precision", &PRECISIONS, "fp32", PRECISION)
});

/// How speed is measured.
pub fn bench_options(set: OptionSet) -> OptionSet {
    let default = BenchOptions::default();
    set.int("size", side(), default.size as i64, "side of the square images in pixels")
        .int("batch", 1..=4096, default.batch as i64, "images a batch")
        .int("runs", 1..=1_000_000, default.runs as i64, "runs that count")
        .int("warm_up", 0..=1_000_000, default.warm_up as i64, "runs before those")
        .optional("threads", Kind::Int(1..=1024), "CPU threads; all otherwise")
}

/// The bench options that were read.
pub fn read_bench(options: &Options) -> BenchOptions {
    BenchOptions {
        size: options.int("size"),
        batch: options.int("batch"),
        runs: options.int("runs"),
        warm_up: options.int("warm_up"),
        threads: options.given_int("threads"),
    }
}

/// A measurement, and what was measured.
#[derive(Clone)]
struct Bench {
    title: String,
    report: BenchReport,
}

impl Bench {
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
            "size": report.size,
            "batch": report.batch,
            "threads": report.threads,
            "runs": report.timing.runs(),
            "images_per_second": report.images_per_second,
            "macs_per_second": report.macs_per_second,
            "peak_flops": report.peak_flops,
            "peak_mib": report.peak_memory.map(|bytes| bytes >> 20),
        })
    }
}

#[export_module]
mod functions {
    #[rhai_fn(name = "bench", pure, return_raw)]
    pub fn bench_plain(context: NativeCallContext, model: &mut Model) -> Answer<Bench> {
        bench(context, model, Map::new())
    }

    /// How fast the model is, as a whole and layer by layer: median and spread of the time a batch takes, images a
    /// second, share of what the processor could compute, peak memory. With `train: true`, a step of training.
    #[rhai_fn(pure, return_raw)]
    pub fn bench(context: NativeCallContext, model: &mut Model, options: Map) -> Answer<Bench> {
        let (given, state) = (BENCH.read(options)?, State::of(&context));
        let (options, progress) = (read_bench(&given), state.progress.as_ref());
        let name = &model.provenance().name;
        if !given.flag("train") {
            if given.text("precision") != "fp32" {
                return Err(given.wrong("precision", "\"fp32\" without train: true"));
            }
            let report = crate::eval::bench(model, &options, progress).map_err(raise)?;
            return Ok(Bench { title: format!("{name}, inference"), report });
        }
        let gains = Gains::default().for_training(model.detector(), options.size);
        let objective = Objective::detection(model.detector(), &gains).map_err(raise)?;
        let report =
            crate::train::bench(model, &objective, read_precision(&given), &options, progress).map_err(raise)?;
        Ok(Bench { title: format!("{name}, training"), report })
    }

    #[rhai_fn(name = "bench", pure, return_raw)]
    pub fn distiller_bench_plain(context: NativeCallContext, distiller: &mut Distiller) -> Answer<Bench> {
        distiller_bench(context, distiller, Map::new())
    }

    /// How long a step of distillation takes: the teacher's inference and a step of the student's training. The layers
    /// are the student's.
    #[rhai_fn(name = "bench", pure, return_raw)]
    pub fn distiller_bench(context: NativeCallContext, distiller: &mut Distiller, options: Map) -> Answer<Bench> {
        let (given, state) = (DISTILL.read(options)?, State::of(&context));
        let options = read_bench(&given);
        let report = distiller.bench(read_precision(&given), &options, state.progress.as_ref()).map_err(raise)?;
        Ok(Bench { title: format!("{}, distillation", distiller.student().provenance().name), report })
    }

    /// The median of the seconds that a batch takes.
    #[rhai_fn(get = "seconds", pure)]
    pub fn bench_seconds(bench: &mut Bench) -> f64 {
        bench.report.timing.median()
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
