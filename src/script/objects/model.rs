//! Models in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map};
use serde_json::{Value, json};

use super::detections::Detections;
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::eval::{ActivationOptions, PredictOptions};
use crate::io::{self, Opened, Precision};
use crate::model::Model;
use crate::options::options;
use crate::prune::{self, RecalibrateOptions, RefitOptions};
use crate::report::{Extras, Table, View, filters, headline, histogram, layers, summary};
use crate::script::api::Api;
use crate::script::device::{device_name, parse_device};
use crate::script::failure::{raise, raise_text};
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;
use crate::train::loss::loss_gradients;
use crate::zoo::{self, Fresh, Redraw};

pub fn bind(api: &mut Api) {
    api.object::<Model>().object::<Layer>();
    for set in [&YOLO, &FRESH, &SAVE, &LAYERS, &PREDICT, &RECALIBRATE, &REFIT] {
        api.options(set);
    }
    api.functions(exported_manifest!(functions));
}

static YOLO: LazyLock<OptionSet> = LazyLock::new(|| {
    OptionSet::function("yolo")
        .custom("classes", CLASSES, is_classes, "What it detects; 80 numbered classes by default")
        .group::<Fresh>()
});

static FRESH: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Model>("fresh").group::<Redraw>());

static SAVE: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Model>("save").group::<SaveOptions>());

options! {
    struct SaveOptions {
        /// How numbers are written.
        pub precision: Precision = Precision::Fp32;
    }
}

static LAYERS: LazyLock<OptionSet> = LazyLock::new(|| {
    OptionSet::method::<Model>("layers")
        .object::<Dataset>("data", "Adds statistics of activations and gradients on it")
        .group::<ActivationOptions>()
});

static PREDICT: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Model>("predict").group::<PredictOptions>());

static RECALIBRATE: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<Model>("recalibrate").group::<RecalibrateOptions>());

static REFIT: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Model>("refit").group::<RefitOptions>());

const CLASSES: &str = "a number of classes, an array of names or a Dataset";

fn is_classes(value: &Dynamic) -> bool {
    value.is_int() || value.is_array() || value.is::<Dataset>()
}

impl Object for Model {
    const NAME: &'static str = "Model";

    fn show(&self, _: View) -> String {
        headline(self)
    }

    fn json(&self) -> Value {
        let cost = self.cost(640).ok();
        json!({
            "model": self.provenance().name,
            "classes": self.detector().classes,
            "params": cost.map(|cost| cost.params),
            "macs": cost.map(|cost| cost.macs),
            "history": self.provenance().history,
        })
    }
}

/// One layer in detail.
#[derive(Clone)]
struct Layer {
    name: String,
    table: Table,
    edges: (f32, f32),
    counts: Vec<u64>,
}

impl Layer {
    fn histogram(&self, width: Option<u16>) -> String {
        histogram(&format!("weights of {}", self.name), self.edges, &self.counts, width)
    }
}

impl Object for Layer {
    const NAME: &'static str = "Layer";

    fn show(&self, view: View) -> String {
        format!("{}\n\n{}", self.histogram(view.width), self.table.render(view))
    }

    fn json(&self) -> Value {
        let (low, high) = self.edges;
        json!({ "layer": self.name, "histogram": { "low": low, "high": high, "counts": self.counts }, "filters": self.table.json_rows() })
    }
}

/// What `load` gives: its type shows when it runs.
type ModelOrOnnxModel = Dynamic;

#[export_module(manifest)]
mod functions {
    /// Opens a model: a YOLOv5 or YOLOv8 checkpoint (`.pt`), or a `.safetensors` file that `save` wrote. An `.onnx` file of
    /// any exporter gives an OnnxModel, which another engine runs: it is evaluated, timed and compared like a Model.
    #[rhai_fn(return_raw)]
    pub fn load(context: NativeCallContext, path: ImmutableString) -> ScriptResult<ModelOrOnnxModel> {
        Ok(match io::open(Path::new(path.as_str())).map_err(raise)? {
            Opened::Model(model) => Dynamic::from(on_device(&context, model)?),
            Opened::Onnx(file) => Dynamic::from(file),
        })
    }

    /// The built-in trained detector of the shapes that `shapes()` draws.
    #[rhai_fn(return_raw)]
    pub fn teacher(context: NativeCallContext) -> ScriptResult<Model> {
        on_device(&context, io::teacher().map_err(raise)?)
    }

    /// A fresh model of a published variant: yolov5n, s, m, l, x, with a fourth level for large images yolov5n6 …; yolov8n, s,
    /// m, l, x, with a fourth level for small objects yolov8n-p2 ….
    #[rhai_fn(return_raw)]
    pub fn yolo(context: NativeCallContext, variant: ImmutableString, options: Map) -> ScriptResult<Model> {
        let given = YOLO.read(options, State::of(&context).seed())?;
        let mut fresh: Fresh = given.group();
        if let Some(classes) = given.value("classes") {
            fresh.classes = match classes.as_int() {
                Ok(count) => Fresh::numbered(usize::try_from(count).unwrap_or(0)).classes,
                Err(_) => class_names(classes)?,
            };
        }
        on_device(&context, zoo::yolo(&variant, &fresh).map_err(raise)?)
    }

    /// What the model is: classes, head, cost, history. MACs are told for 640 pixels.
    #[rhai_fn(name = "summary", pure, return_raw)]
    pub fn summary_of(model: &mut Model) -> ScriptResult<Table> {
        summary(model, 640).map_err(raise)
    }

    #[rhai_fn(name = "summary", pure, return_raw)]
    pub fn summary_at(model: &mut Model, size: i64) -> ScriptResult<Table> {
        summary(model, pixels(size)?).map_err(raise)
    }

    /// A row for each layer: name, kind, shapes, kernel, stride, parameters, MACs and their share, and what its weights
    /// are like. With `data` also what its activations and gradients are like on some images.
    #[rhai_fn(name = "layers", pure, return_raw)]
    pub fn layers_of(context: NativeCallContext, model: &mut Model, options: Map) -> ScriptResult<Table> {
        let state = State::of(&context);
        let given = LAYERS.read(options, state.seed())?;
        let options: ActivationOptions = given.group();
        let size = options.size;
        let rows = model.layers(size).map_err(raise)?;
        let Some(data) = given.object::<Dataset>("data") else {
            return Ok(layers(model, size, &rows, None));
        };
        let progress = state.progress.as_ref();
        let activations = crate::eval::activations(model, &data, &options, progress).map_err(raise)?;
        let gradients = loss_gradients(model, &data, &options, progress).map_err(raise)?;
        Ok(layers(model, size, &rows, Some(&Extras { activations, gradients })))
    }

    /// One layer in detail: how its weights are distributed, and a row for each filter.
    #[rhai_fn(pure, return_raw)]
    pub fn layer(model: &mut Model, name: ImmutableString) -> ScriptResult<Layer> {
        let detail = model.layer(&name, model.max_stride() * 20, 24).map_err(raise)?;
        Ok(Layer {
            table: filters(&detail.layer.name, &detail.filters),
            name: detail.layer.name,
            edges: (detail.histogram.low, detail.histogram.high),
            counts: detail.histogram.counts,
        })
    }

    /// A row for each filter: what its weights are like, its bias, scale and shift.
    #[rhai_fn(get = "filters", pure)]
    pub fn layer_filters(layer: &mut Layer) -> Table {
        layer.table.clone()
    }

    /// The layer's name.
    #[rhai_fn(get = "name", pure)]
    pub fn layer_name(layer: &mut Layer) -> ImmutableString {
        layer.name.as_str().into()
    }

    /// How the layer's weights are distributed, as a picture of characters.
    #[rhai_fn(name = "histogram", pure)]
    pub fn layer_histogram(context: NativeCallContext, layer: &mut Layer) -> ImmutableString {
        layer.histogram(State::of(&context).output.view().width).into()
    }

    /// The number of parameters.
    #[rhai_fn(get = "params", pure, return_raw)]
    pub fn params(model: &mut Model) -> ScriptResult<i64> {
        Ok(model.cost(model.max_stride()).map_err(raise)?.params as i64)
    }

    /// The share of the convolutions' weights that are exactly zero, held there by a mask or not.
    #[rhai_fn(get = "sparsity", pure, return_raw)]
    pub fn sparsity(model: &mut Model) -> ScriptResult<f64> {
        model.sparsity().map_err(raise)
    }

    /// Multiply-accumulates of one image of so many pixels square; FLOPs are twice as many.
    #[rhai_fn(name = "macs", pure, return_raw)]
    pub fn macs(model: &mut Model, size: i64) -> ScriptResult<i64> {
        Ok(model.cost(pixels(size)?).map_err(raise)?.macs as i64)
    }

    /// Multiply-accumulates of one image of 640 pixels square.
    #[rhai_fn(name = "macs", get = "macs", pure, return_raw)]
    pub fn macs_at_640(model: &mut Model) -> ScriptResult<i64> {
        macs(model, 640)
    }

    /// The names of the classes.
    #[rhai_fn(get = "classes", pure)]
    pub fn classes(model: &mut Model) -> Array {
        model.detector().classes.iter().map(|name| name.clone().into()).collect()
    }

    /// The model's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(model: &mut Model) -> ImmutableString {
        model.provenance().name.as_str().into()
    }

    /// The same model under another name, for tables.
    #[rhai_fn(pure)]
    pub fn named(model: &mut Model, name: ImmutableString) -> Model {
        model.clone().with_name(name)
    }

    /// What was done to the model, a line a step.
    #[rhai_fn(get = "history", pure)]
    pub fn history(model: &mut Model) -> Array {
        model.provenance().history.iter().map(|step| step.clone().into()).collect()
    }

    /// The device that the model is on.
    #[rhai_fn(get = "device", pure)]
    pub fn device_of(model: &mut Model) -> ImmutableString {
        device_name(&model.device()).into()
    }

    /// The same model on another device: `cpu`, `cuda`, `cuda:1`, `metal`.
    #[rhai_fn(pure, return_raw)]
    pub fn to(model: &mut Model, device: ImmutableString) -> ScriptResult<Model> {
        model.to_device(&parse_device(&device).map_err(raise)?).map_err(raise)
    }

    /// The same detector for other classes, to be fine-tuned: what it knows of boxes, and of classes whose names stay,
    /// is kept. Takes an array of names, or a Dataset for its classes.
    #[rhai_fn(pure, return_raw)]
    pub fn with_classes(context: NativeCallContext, model: &mut Model, classes: Dynamic) -> ScriptResult<Model> {
        crate::train::with_classes(model, &class_names(&classes)?, State::of(&context).seed()).map_err(raise)
    }

    /// Writes the model as one `.safetensors` file that `load` opens with nothing else, whatever was pruned.
    #[rhai_fn(pure, return_raw)]
    pub fn save(
        context: NativeCallContext,
        model: &mut Model,
        path: ImmutableString,
        options: Map,
    ) -> ScriptResult<()> {
        let options: SaveOptions = SAVE.read(options, State::of(&context).seed())?.group();
        io::save(model, Path::new(path.as_str()), options.precision).map_err(raise)
    }

    /// The same network with weights drawn anew: the control that shows what the kept weights of a pruned model are worth.
    #[rhai_fn(pure, return_raw)]
    pub fn fresh(context: NativeCallContext, model: &mut Model, options: Map) -> ScriptResult<Model> {
        let options = FRESH.read(options, State::of(&context).seed())?.group();
        zoo::redraw(model, &options).map_err(raise)
    }

    /// The same model with the statistics of its normalisations measured anew on a dataset's images, without training:
    /// it gives back much of what pruning costs.
    #[rhai_fn(pure, return_raw)]
    pub fn recalibrate(
        context: NativeCallContext,
        model: &mut Model,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Model> {
        let state = State::of(&context);
        let options = RECALIBRATE.read(options, state.seed())?.group();
        prune::recalibrate(model, &data, &options, state.progress.as_ref()).map_err(raise)
    }

    /// The same model with weights fitted, layer by layer, to what the model gives that it was pruned from, without
    /// training: least squares on some images. What pruning cost is made good in part; see also `recalibrate`.
    #[rhai_fn(pure, return_raw)]
    pub fn refit(
        context: NativeCallContext,
        model: &mut Model,
        unpruned: Model,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Model> {
        let state = State::of(&context);
        let options = REFIT.read(options, state.seed())?.group();
        prune::refit(model, &unpruned, &data, &options, state.progress.as_ref()).map_err(raise)
    }

    /// The boxes in an image file, most confident first.
    #[rhai_fn(pure, return_raw)]
    pub fn predict(
        context: NativeCallContext,
        model: &mut Model,
        image: ImmutableString,
        options: Map,
    ) -> ScriptResult<Detections> {
        let options = PREDICT.read(options, State::of(&context).seed())?.group();
        Detections::find(&*model, Path::new(image.as_str()), &options).map_err(raise)
    }
}

fn on_device(context: &NativeCallContext, model: Model) -> ScriptResult<Model> {
    let device = State::of(context).device();
    if device.is_cpu() { Ok(model) } else { model.to_device(&device).map_err(raise) }
}

fn pixels(size: i64) -> ScriptResult<usize> {
    let expected = "the size of images is a whole number from 32 to 8192";
    let size = usize::try_from(size).ok().filter(|size| (32..=8192).contains(size)).ok_or(size);
    size.map_err(|size| raise_text(format!("{expected}, not {size}")))
}

/// Class names from an array of strings or a dataset.
fn class_names(value: &Dynamic) -> ScriptResult<Vec<String>> {
    if let Some(data) = value.read_lock::<Dataset>() {
        return Ok(data.names.clone());
    }
    let names = value
        .read_lock::<Array>()
        .and_then(|items| items.iter().map(|item| item.clone().into_string().ok()).collect::<Option<Vec<String>>>());
    names.ok_or_else(|| raise_text("classes are an array of names or a Dataset"))
}
