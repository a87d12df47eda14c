//! How good a model is.

use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{ImmutableString, Map};
use serde_json::{Value, json};

use super::model::short;
use super::{Answer, side};
use crate::data::Dataset;
use crate::eval::{EvaluateOptions, Metrics, Rule, evaluate};
use crate::model::Model;
use crate::report::{Table, View, metrics as metrics_table};
use crate::script::engine::Api;
use crate::script::failure::{complain, raise};
use crate::script::object::Object;
use crate::script::options::{Kind, OptionSet, Options};
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Metrics>().options(&EVALUATE);
    rhai::combine_with_exported_module!(&mut api.module, "metrics", functions);
}

static EVALUATE: LazyLock<OptionSet> = LazyLock::new(|| evaluate_options(OptionSet::method::<Model>("evaluate")));

/// How a detector is evaluated.
pub fn evaluate_options(set: OptionSet) -> OptionSet {
    let default = EvaluateOptions::default();
    set.int("size", side(), default.size as i64, "side of the square images in pixels")
        .one_of("split", &["train", "val", "test"], "val", "the split whose labels count")
        .float("conf", 0.0..=1.0, short(default.confidence), "boxes of at most this confidence are dropped")
        .optional("iou", Kind::Float(0.0..=1.0), "overlap above which the weaker box goes; the family's own otherwise")
        .one_of(
            "metric",
            &["ultralytics", "yolov5", "coco"],
            default.rule.name(),
            "whose rule average precision follows",
        )
        .int("max_det", 1..=30_000, default.max_detections as i64, "boxes kept an image")
        .int("batch", 1..=4096, default.batch as i64, "images a batch")
}

/// The evaluation options that were read.
pub fn read_evaluate(options: &Options) -> EvaluateOptions {
    EvaluateOptions {
        split: options.text("split"),
        size: options.int("size"),
        batch: options.int("batch"),
        confidence: options.float("conf") as f32,
        iou: options.given_float("iou").map(|iou| iou as f32),
        max_detections: options.int("max_det"),
        rule: Rule::from_name(&options.text("metric")).unwrap_or_default(),
    }
}

impl Object for Metrics {
    const NAME: &'static str = "Metrics";

    fn show(&self, view: View) -> String {
        metrics_table(self).render(view)
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }
}

#[export_module]
mod functions {
    #[rhai_fn(name = "evaluate", pure, return_raw)]
    pub fn evaluate_plain(context: NativeCallContext, model: &mut Model, data: Dataset) -> Answer<Metrics> {
        evaluate_with(context, model, data, Map::new())
    }

    /// Precision, recall, mAP50 and mAP50-95 on a split of a dataset, class by class and overall.
    #[rhai_fn(name = "evaluate", pure, return_raw)]
    pub fn evaluate_with(
        context: NativeCallContext,
        model: &mut Model,
        data: Dataset,
        options: Map,
    ) -> Answer<Metrics> {
        let options = read_evaluate(&EVALUATE.read(options)?);
        evaluate(model, &data, &options, State::of(&context).progress.as_ref()).map_err(raise)
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

    /// What only the COCO rule gives: average precision of small, medium and large boxes, and recall with 100 boxes.
    #[rhai_fn(get = "coco", pure, return_raw)]
    pub fn coco(metrics: &mut Metrics) -> Answer<Map> {
        let coco = metrics.scores.coco.ok_or_else(|| {
            complain("these metrics were not computed by the COCO rule; evaluate with #{ metric: \"coco\" }")
        })?;
        let figures = [("small", coco.small), ("medium", coco.medium), ("large", coco.large), ("ar100", coco.ar100)];
        let value = |figure: Option<f64>| figure.map_or(Dynamic::UNIT, Dynamic::from);
        Ok(figures.into_iter().map(|(name, figure)| (name.into(), value(figure))).collect())
    }

    /// A class's row as a map: precision, recall, map50, map75, map.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn of_class(metrics: &mut Metrics, class: ImmutableString) -> Answer<Map> {
        let table = metrics_table(metrics);
        let names: Vec<String> = table.column("class").map_err(raise)?.iter().map(|cell| cell.plain()).collect();
        let row = names.iter().position(|name| *name == class.as_str()).ok_or_else(|| {
            let like = crate::nearest::did_you_mean(&class, names.iter().map(String::as_str));
            complain(format!(
                "no class \"{class}\"{like} has labels in this split; those that have are {}",
                names.join(", ")
            ))
        })?;
        Ok(super::super::table::row_map(&table, &table.rows()[row]))
    }
}
