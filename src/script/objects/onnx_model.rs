//! ONNX files in scripts: what another engine runs, beside our own models.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, ImmutableString, Map};
use serde_json::{Value, json};

use super::bench::Bench;
use super::detections::Detections;
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::eval::{BenchOptions, EvaluateOptions, Metrics, PredictOptions, Subject, evaluate};
use crate::io::onnx::OnnxModel;
use crate::model::Model;
use crate::report::{View, onnx_headline};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::{Object, short_text};
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<OnnxModel>();
    for set in [&EVALUATE, &PREDICT, &BENCH] {
        api.options(set);
    }
    api.functions(exported_manifest!(functions));
}

static EVALUATE: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<OnnxModel>("evaluate").group::<EvaluateOptions>());

static PREDICT: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<OnnxModel>("predict").group::<PredictOptions>());

static BENCH: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<OnnxModel>("bench").group::<BenchOptions>());

impl Object for OnnxModel {
    const NAME: &'static str = "OnnxModel";

    fn show(&self, _: View) -> String {
        onnx_headline(self)
    }

    fn json(&self) -> Value {
        json!({
            "model": self.name(),
            "path": self.path(),
            "bytes": self.bytes(),
            "classes": self.classes(),
            "params": self.weights().count,
            "size": self.size(),
            "batch": self.batch(),
        })
    }
}

/// What a value is that can be compared: a Model or an OnnxModel.
pub enum Comparable {
    Model(Model),
    Onnx(OnnxModel),
}

impl Comparable {
    /// Takes a value of either type.
    pub fn read(value: Dynamic) -> ScriptResult<Self> {
        let value = match value.try_cast_result::<Model>() {
            Ok(model) => return Ok(Self::Model(model)),
            Err(value) => value,
        };
        value
            .try_cast_result::<OnnxModel>()
            .map(Self::Onnx)
            .map_err(|value| raise_text(format!("compare takes Models and OnnxModels, not {}", short_text(&value))))
    }

    /// What is evaluated and timed.
    pub fn subject(&self) -> Subject<'_> {
        match self {
            Self::Model(model) => model.into(),
            Self::Onnx(file) => file.into(),
        }
    }

    /// The last thing that was done to it, if that is known.
    pub fn last_step(&self) -> Option<&str> {
        match self {
            Self::Model(model) => model.provenance().history.last().map(String::as_str),
            Self::Onnx(_) => None,
        }
    }
}

#[export_module(manifest)]
mod functions {
    /// Precision, recall, mAP50 and mAP50-95 of an ONNX file, which another engine runs, on a split of a dataset.
    #[rhai_fn(name = "evaluate", pure, return_raw)]
    pub fn evaluate_file(
        context: NativeCallContext,
        file: &mut OnnxModel,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Metrics> {
        let state = State::of(&context);
        let options = EVALUATE.read(options, state.seed())?.group();
        evaluate(&*file, &data, &options, state.progress.as_ref()).map_err(raise)
    }

    /// The boxes that an ONNX file finds in an image file, most confident first.
    #[rhai_fn(name = "predict", pure, return_raw)]
    pub fn predict_by_file(
        context: NativeCallContext,
        file: &mut OnnxModel,
        image: ImmutableString,
        options: Map,
    ) -> ScriptResult<Detections> {
        let options = PREDICT.read(options, State::of(&context).seed())?.group();
        Detections::find(&*file, Path::new(image.as_str()), &options).map_err(raise)
    }

    /// How fast another engine runs an ONNX file: median and spread of the time a batch takes, images a second, peak memory.
    #[rhai_fn(name = "bench", pure, return_raw)]
    pub fn bench_file(context: NativeCallContext, file: &mut OnnxModel, options: Map) -> ScriptResult<Bench> {
        let state = State::of(&context);
        let options: BenchOptions = BENCH.read(options, state.seed())?.group();
        let report = crate::eval::bench(&*file, &options, state.progress.as_ref()).map_err(raise)?;
        Ok(Bench::new(format!("{}, inference by rten", file.name()), report))
    }

    /// The number of weights, biases, scales and shifts.
    #[rhai_fn(get = "params", pure)]
    pub fn file_params(file: &mut OnnxModel) -> i64 {
        i64::try_from(file.weights().count).unwrap_or(i64::MAX)
    }

    /// Multiply-accumulates of one image of so many pixels square, counted while it runs once.
    #[rhai_fn(name = "macs", pure, return_raw)]
    pub fn file_macs(file: &mut OnnxModel, size: i64) -> ScriptResult<i64> {
        let size = usize::try_from(size).unwrap_or(0);
        file.macs(size).map(|macs| i64::try_from(macs).unwrap_or(i64::MAX)).map_err(raise)
    }

    /// The names of the classes.
    #[rhai_fn(get = "classes", pure)]
    pub fn file_classes(file: &mut OnnxModel) -> Array {
        file.classes().iter().map(|name| name.clone().into()).collect()
    }

    /// The name by which tables call it.
    #[rhai_fn(get = "name", pure)]
    pub fn file_name(file: &mut OnnxModel) -> ImmutableString {
        file.name().into()
    }

    /// The same file under another name, for tables.
    #[rhai_fn(name = "named", pure)]
    pub fn file_named(file: &mut OnnxModel, name: ImmutableString) -> OnnxModel {
        file.clone().with_name(name)
    }
}
