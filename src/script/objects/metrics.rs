//! How good a model is.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{ImmutableString, Map};
use serde_json::{Value, json};

use super::result::ScriptResult;
use super::table::row_map;
use crate::data::Dataset;
use crate::eval::{ActivationOptions, ConfusionOptions, EvaluateOptions, Metrics, confusion, evaluate};
use crate::model::Model;
use crate::options::OptionError;
use crate::report::{
    AccuracyPicture, Table, View, confusion as confusion_table, curves, f1, metrics as metrics_table, plot_metrics,
    precision_recall,
};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;
use crate::train::loss::mean_loss;

pub fn bind(api: &mut Api) {
    api.object::<Metrics>().options(&EVALUATE).options(&LOSS).options(&CONFUSION);
    api.functions(exported_manifest!(functions));
}

static EVALUATE: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<Model>("evaluate").group::<EvaluateOptions>());

static LOSS: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Model>("loss").group::<ActivationOptions>());

static CONFUSION: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<Metrics>("confusion").group::<ConfusionOptions>());

impl Object for Metrics {
    const NAME: &'static str = "Metrics";

    fn show(&self, view: View) -> String {
        metrics_table(self).render(view)
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }
}

#[export_module(manifest)]
mod functions {
    /// Precision, recall, mAP50 and mAP50-95 on a split of a dataset, class by class and overall.
    #[rhai_fn(name = "evaluate", pure, return_raw)]
    pub fn evaluate_with(
        context: NativeCallContext,
        model: &mut Model,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Metrics> {
        let state = State::of(&context);
        let options = EVALUATE.read(options, state.seed())?.group();
        evaluate(&*model, &data, &options, state.progress.as_ref()).map_err(raise)
    }

    /// The detection loss of a mean image of a split, without augmentation and with running statistics.
    #[rhai_fn(name = "loss", pure, return_raw)]
    pub fn loss_on(context: NativeCallContext, model: &mut Model, data: Dataset, options: Map) -> ScriptResult<f64> {
        let state = State::of(&context);
        let options = LOSS.read(options, state.seed())?.group();
        mean_loss(model, &data, &options, state.progress.as_ref()).map_err(raise)
    }

    /// Average precision at IoU 0.5, mean over the classes.
    #[rhai_fn(get = "map50", pure)]
    pub fn map50(metrics: &mut Metrics) -> f64 {
        metrics.scores.overall.map50
    }

    /// Average precision at IoU 0.75, mean over the classes.
    #[rhai_fn(get = "map75", pure)]
    pub fn map75(metrics: &mut Metrics) -> f64 {
        metrics.scores.overall.map75
    }

    /// Average precision, mean over IoU 0.5 to 0.95 and the classes.
    #[rhai_fn(get = "map", pure)]
    pub fn map(metrics: &mut Metrics) -> f64 {
        metrics.scores.overall.map
    }

    /// Share of the boxes found that are right, at the confidence of the best F1.
    #[rhai_fn(get = "precision", pure)]
    pub fn precision(metrics: &mut Metrics) -> f64 {
        metrics.scores.overall.precision
    }

    /// Share of the labelled boxes that are found, at the confidence of the best F1.
    #[rhai_fn(get = "recall", pure)]
    pub fn recall(metrics: &mut Metrics) -> f64 {
        metrics.scores.overall.recall
    }

    /// Seconds that the evaluation took.
    #[rhai_fn(get = "seconds", pure)]
    pub fn seconds(metrics: &mut Metrics) -> f64 {
        metrics.seconds.total
    }

    /// A row for each class, the means as totals.
    #[rhai_fn(name = "table", pure)]
    pub fn table(metrics: &mut Metrics) -> Table {
        metrics_table(metrics)
    }

    /// What labelled boxes are taken for: a row for each class found, a column for each class labelled, the background last.
    #[rhai_fn(name = "confusion", pure, return_raw)]
    pub fn confusion_of(context: NativeCallContext, metrics: &mut Metrics, options: Map) -> ScriptResult<Table> {
        let options = CONFUSION.read(options, State::of(&context).seed())?.group();
        let matrix = confusion(&metrics.results, metrics.class_names.len(), options);
        Ok(confusion_table(&matrix, &metrics.class_names))
    }

    /// Precision over recall and F1 over confidence at IoU 0.5, as curves of characters.
    #[rhai_fn(name = "plot", pure)]
    pub fn plot_in_terminal(context: NativeCallContext, metrics: &mut Metrics) -> ImmutableString {
        let width = State::of(&context).output.view().width;
        [precision_recall(metrics), f1(metrics)].map(|panel| curves(&panel, width)).join("\n\n").into()
    }

    /// Draws both into an `.svg` or `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn plot_to_file(metrics: &mut Metrics, path: ImmutableString) -> ScriptResult<()> {
        plot_metrics(metrics, AccuracyPicture::default(), Path::new(path.as_str())).map_err(raise)
    }

    /// Draws "pr" (precision over recall), "f1" (over confidence), both ("curves") or the "confusion" between classes into an
    /// `.svg` or `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn plot_one(metrics: &mut Metrics, path: ImmutableString, picture: ImmutableString) -> ScriptResult<()> {
        let picture: AccuracyPicture = picture.parse().map_err(|error: OptionError| raise(error))?;
        plot_metrics(metrics, picture, Path::new(path.as_str())).map_err(raise)
    }

    /// What only the COCO rule gives: average precision of small, medium and large boxes, and recall with 100 boxes.
    #[rhai_fn(get = "coco", pure, return_raw)]
    pub fn coco(metrics: &mut Metrics) -> ScriptResult<Map> {
        let coco = metrics.scores.coco.ok_or_else(|| {
            raise_text("these metrics were not computed by the COCO rule; evaluate with #{ metric: \"coco\" }")
        })?;
        let figures = [("small", coco.small), ("medium", coco.medium), ("large", coco.large), ("ar100", coco.ar100)];
        let value = |figure: Option<f64>| figure.map_or(Dynamic::UNIT, Dynamic::from);
        Ok(figures.into_iter().map(|(name, figure)| (name.into(), value(figure))).collect())
    }

    /// A class's row as a map: precision, recall, map50, map75, map.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn of_class(metrics: &mut Metrics, class: ImmutableString) -> ScriptResult<Map> {
        let table = metrics_table(metrics);
        let names: Vec<String> = table.column("class").map_err(raise)?.iter().map(|cell| cell.plain()).collect();
        let row = names.iter().position(|name| *name == class.as_str()).ok_or_else(|| {
            let like = crate::nearest::did_you_mean(&class, names.iter().map(String::as_str));
            raise_text(format!(
                "no class \"{class}\"{like} has labels in this split; those that have are {}",
                names.join(", ")
            ))
        })?;
        Ok(row_map(&table, &table.rows()[row]))
    }
}
