//! Models in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map};
use serde_json::{Value, json};

use super::detections::Detections;
use super::{Answer, class_names, side};
use crate::data::Dataset;
use crate::eval::{ActivationOptions, PredictOptions};
use crate::io::{self, Precision};
use crate::model::Model;
use crate::prune::{self, RecalibrateOptions};
use crate::report::{Extras, Table, View, filters, headline, histogram, layers, summary};
use crate::script::device::{device_name, parse_device};
use crate::script::engine::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::{Kind, OptionSet};
use crate::script::state::State;
use crate::train::loss::loss_gradients;
use crate::zoo::{self, Fresh};

pub fn bind(api: &mut Api) {
    api.object::<Model>().object::<Layer>();
    for set in [&YOLO, &SAVE, &LAYERS, &PREDICT, &RECALIBRATE] {
        api.options(set);
    }
    rhai::combine_with_exported_module!(&mut api.module, "model", functions);
}

static YOLO: LazyLock<OptionSet> = LazyLock::new(|| {
    OptionSet::function("yolo")
        .optional(
            "classes",
            Kind::Value { takes: CLASSES, accepts: is_classes },
            "what it detects; 80 numbered classes otherwise",
        )
        .optional("width", Kind::Float(0.01..=4.0), "factor of the published widths, instead of the variant's own")
        .optional("depth", Kind::Float(0.01..=4.0), "factor of the published depths, instead of the variant's own")
        .optional("seed", Kind::seed(), "of the initial weights; otherwise that of seed(n)")
});

static SAVE: LazyLock<OptionSet> = LazyLock::new(|| {
    OptionSet::method::<Model>("save").one_of("precision", &["fp32", "fp16"], "fp32", "how numbers are written")
});

static LAYERS: LazyLock<OptionSet> = LazyLock::new(|| {
    let default = ActivationOptions::default();
    OptionSet::method::<Model>("layers")
        .int("size", side(), default.size as i64, "side of the square images in pixels")
        .optional("data", Kind::object::<Dataset>(), "adds statistics of activations and gradients on it")
        .int("images", 1..=1_000_000, default.images as i64, "images of the dataset to look at")
        .int("batch", 1..=4096, default.batch as i64, "images a batch")
        .one_of("split", &["train", "val", "test"], "train", "the split they are from")
});

static PREDICT: LazyLock<OptionSet> = LazyLock::new(|| {
    let default = PredictOptions::default();
    OptionSet::method::<Model>("predict")
        .int("size", side(), default.size as i64, "side of the square that the image is fitted into, in pixels")
        .float("conf", 0.0..=1.0, short(default.confidence), "boxes of at most this confidence are dropped")
        .optional("iou", Kind::Float(0.0..=1.0), "overlap above which the weaker box goes; the family's own otherwise")
        .int("max_det", 1..=30_000, default.max_detections as i64, "boxes kept")
});

static RECALIBRATE: LazyLock<OptionSet> = LazyLock::new(|| {
    let default = RecalibrateOptions::default();
    OptionSet::method::<Model>("recalibrate")
        .one_of("split", &["train", "val", "test"], "train", "the split that the images are from")
        .int("images", 1..=1_000_000, default.images as i64, "how many")
        .int("size", side(), default.size as i64, "side of the square images in pixels")
        .int("batch", 1..=4096, default.batch as i64, "images a batch")
        .optional("seed", Kind::seed(), "of their order; otherwise that of seed(n)")
});

const CLASSES: &str = "a number of classes, an array of names or a Dataset";

fn is_classes(value: &Dynamic) -> bool {
    value.is_int() || value.is_array() || value.is::<Dataset>()
}

/// A 32-bit default as its short decimal.
pub fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
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

#[export_module]
mod functions {
    /// Opens a model: a YOLOv5 or YOLOv8 checkpoint (`.pt`), or a `.safetensors` file that `save` wrote.
    #[rhai_fn(return_raw)]
    pub fn load(context: NativeCallContext, path: ImmutableString) -> Answer<Model> {
        let model = io::load(Path::new(path.as_str())).map_err(raise)?;
        on_device(&context, model)
    }

    /// The built-in trained detector of the shapes that `shapes()` draws.
    #[rhai_fn(return_raw)]
    pub fn teacher(context: NativeCallContext) -> Answer<Model> {
        on_device(&context, io::teacher().map_err(raise)?)
    }

    #[rhai_fn(name = "yolo", return_raw)]
    pub fn yolo_plain(context: NativeCallContext, variant: ImmutableString) -> Answer<Model> {
        yolo(context, variant, Map::new())
    }

    /// A fresh model of a published variant: yolov5n, s, m, l, x or yolov8n, s, m, l, x.
    #[rhai_fn(return_raw)]
    pub fn yolo(context: NativeCallContext, variant: ImmutableString, options: Map) -> Answer<Model> {
        let state = State::of(&context);
        let options = YOLO.read(options)?;
        let mut fresh = match options.given_value("classes") {
            None => Fresh::numbered(80),
            Some(classes) => match classes.as_int() {
                Ok(count) => Fresh::numbered(usize::try_from(count).unwrap_or(0)),
                Err(_) => Fresh { classes: class_names(classes)?, ..Fresh::numbered(1) },
            },
        };
        fresh.width = options.given_float("width");
        fresh.depth = options.given_float("depth");
        fresh.seed = options.given_int("seed").unwrap_or(state.seed());
        on_device(&context, zoo::yolo(&variant, &fresh).map_err(raise)?)
    }

    /// What the model is: classes, head, cost, history. MACs are told for 640 pixels.
    #[rhai_fn(name = "summary", pure, return_raw)]
    pub fn summary_of(model: &mut Model) -> Answer<Table> {
        summary(model, 640).map_err(raise)
    }

    #[rhai_fn(name = "summary", pure, return_raw)]
    pub fn summary_at(model: &mut Model, size: i64) -> Answer<Table> {
        summary(model, pixels(size)?).map_err(raise)
    }

    #[rhai_fn(name = "layers", pure, return_raw)]
    pub fn layers_plain(context: NativeCallContext, model: &mut Model) -> Answer<Table> {
        layers_of(context, model, Map::new())
    }

    /// A row for each layer: name, kind, shapes, kernel, stride, parameters, MACs and their share, and what its weights
    /// are like. With `data` also what its activations and gradients are like on some images.
    #[rhai_fn(name = "layers", pure, return_raw)]
    pub fn layers_of(context: NativeCallContext, model: &mut Model, options: Map) -> Answer<Table> {
        let options = LAYERS.read(options)?;
        let size = options.int("size");
        let rows = model.layers(size).map_err(raise)?;
        let Some(data) = options.given_object::<Dataset>("data") else {
            return Ok(layers(model, size, &rows, None));
        };
        let looked_at = ActivationOptions {
            split: options.text("split"),
            images: options.int("images"),
            size,
            batch: options.int("batch"),
        };
        let state = State::of(&context);
        let progress = state.progress.as_ref();
        let activations = crate::eval::activations(model, &data, &looked_at, progress).map_err(raise)?;
        let gradients = loss_gradients(model, &data, &looked_at, progress).map_err(raise)?;
        Ok(layers(model, size, &rows, Some(&Extras { activations, gradients })))
    }

    /// One layer in detail: how its weights are distributed, and a row for each filter.
    #[rhai_fn(pure, return_raw)]
    pub fn layer(model: &mut Model, name: ImmutableString) -> Answer<Layer> {
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
    pub fn params(model: &mut Model) -> Answer<i64> {
        Ok(model.cost(model.max_stride()).map_err(raise)?.params as i64)
    }

    /// Multiply-accumulates of one image of so many pixels square; FLOPs are twice as many.
    #[rhai_fn(name = "macs", pure, return_raw)]
    pub fn macs(model: &mut Model, size: i64) -> Answer<i64> {
        Ok(model.cost(pixels(size)?).map_err(raise)?.macs as i64)
    }

    /// Multiply-accumulates of one image of 640 pixels square.
    #[rhai_fn(name = "macs", get = "macs", pure, return_raw)]
    pub fn macs_at_640(model: &mut Model) -> Answer<i64> {
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
    pub fn to(model: &mut Model, device: ImmutableString) -> Answer<Model> {
        model.to_device(&parse_device(&device).map_err(raise)?).map_err(raise)
    }

    /// The same detector for other classes, to be fine-tuned: what it knows of boxes, and of classes whose names stay,
    /// is kept. Takes an array of names, or a Dataset for its classes.
    #[rhai_fn(pure, return_raw)]
    pub fn with_classes(context: NativeCallContext, model: &mut Model, classes: Dynamic) -> Answer<Model> {
        crate::train::with_classes(model, &class_names(&classes)?, State::of(&context).seed()).map_err(raise)
    }

    #[rhai_fn(name = "save", pure, return_raw)]
    pub fn save_plain(model: &mut Model, path: ImmutableString) -> Answer<()> {
        save(model, path, Map::new())
    }

    /// Writes the model as one `.safetensors` file that `load` opens with nothing else, whatever was pruned.
    #[rhai_fn(pure, return_raw)]
    pub fn save(model: &mut Model, path: ImmutableString, options: Map) -> Answer<()> {
        let options = SAVE.read(options)?;
        let precision = if options.text("precision") == "fp16" { Precision::Fp16 } else { Precision::Fp32 };
        io::save(model, Path::new(path.as_str()), precision).map_err(raise)
    }

    #[rhai_fn(name = "recalibrate", pure, return_raw)]
    pub fn recalibrate_plain(context: NativeCallContext, model: &mut Model, data: Dataset) -> Answer<Model> {
        recalibrate(context, model, data, Map::new())
    }

    /// The same model with the statistics of its normalisations measured anew on a dataset's images, without training:
    /// it gives back much of what pruning costs.
    #[rhai_fn(pure, return_raw)]
    pub fn recalibrate(context: NativeCallContext, model: &mut Model, data: Dataset, options: Map) -> Answer<Model> {
        let (options, state) = (RECALIBRATE.read(options)?, State::of(&context));
        let measured = RecalibrateOptions {
            split: options.text("split"),
            images: options.int("images"),
            size: options.int("size"),
            batch: options.int("batch"),
            seed: options.given_int("seed").unwrap_or(state.seed()),
        };
        prune::recalibrate(model, &data, &measured, state.progress.as_ref()).map_err(raise)
    }

    #[rhai_fn(name = "predict", pure, return_raw)]
    pub fn predict_plain(model: &mut Model, image: ImmutableString) -> Answer<Detections> {
        predict(model, image, Map::new())
    }

    /// The boxes in an image file, most confident first.
    #[rhai_fn(pure, return_raw)]
    pub fn predict(model: &mut Model, image: ImmutableString, options: Map) -> Answer<Detections> {
        let options = PREDICT.read(options)?;
        let options = PredictOptions {
            size: options.int("size"),
            confidence: options.float("conf") as f32,
            iou: options.given_float("iou").map(|iou| iou as f32),
            max_detections: options.int("max_det"),
        };
        Detections::find(model, Path::new(image.as_str()), &options).map_err(raise)
    }
}

fn on_device(context: &NativeCallContext, model: Model) -> Answer<Model> {
    let device = State::of(context).device();
    if device.is_cpu() { Ok(model) } else { model.to_device(&device).map_err(raise) }
}

fn pixels(size: i64) -> Answer<usize> {
    let expected = side();
    let fits = usize::try_from(size).ok().filter(|_| expected.contains(&size));
    fits.ok_or_else(|| {
        crate::script::failure::complain(format!(
            "the size of images is a whole number from {} to {}, not {size}",
            expected.start(),
            expected.end()
        ))
    })
}
