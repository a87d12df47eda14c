//! Datasets in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map};
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::data::{self, Dataset, ShapesOptions, Split, SubsetOptions};
use crate::options::{SPLITS, options};
use crate::report::{Column, Table, View, contact_sheet, dataset_summary, save_picture};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Dataset>().options(&SHAPES).options(&SHOW).options(&SUBSET);
    api.functions(exported_manifest!(functions));
}

static SHAPES: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::function("shapes").group::<ShapesOptions>());

static SHOW: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Dataset>("show").group::<ShowOptions>());

static SUBSET: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Dataset>("subset").group::<SubsetOptions>());

options! {
    struct ShowOptions {
        /// The split to show.
        pub split: String = "train".into(), SPLITS;
        /// How many images.
        pub images: usize = 16, 1..=64;
    }
}

impl Object for Dataset {
    const NAME: &'static str = "Dataset";

    fn show(&self, _: View) -> String {
        let splits: Vec<String> = self
            .splits
            .iter()
            .map(|split| format!("{} {}{}", split.samples.len(), split.name, beside(split)))
            .collect();
        let classes = match self.names.len() {
            0..=6 => self.names.join(", "),
            more => format!("{more} classes"),
        };
        let problems = match self.problems().len() {
            0 => String::new(),
            1 => " · 1 problem, see .problems()".into(),
            more => format!(" · {more} problems, see .problems()"),
        };
        format!("{} · {} images · {classes}{problems}", self.name, splits.join(", "))
    }

    fn json(&self) -> Value {
        let splits: serde_json::Map<String, Value> =
            self.splits.iter().map(|split| (split.name.clone(), split.samples.len().into())).collect();
        json!({ "dataset": self.name, "classes": self.names, "images": splits, "problems": self.problems().len() })
    }
}

/// How many unlabelled images a split has beside the others.
fn beside(split: &Split) -> String {
    if split.unlabelled.is_empty() { String::new() } else { format!(" + {} unlabelled", split.unlabelled.len()) }
}

/// Problems told when a dataset is opened; `.problems()` has them all.
const TOLD: usize = 5;

#[export_module(manifest)]
mod functions {
    /// Opens a dataset in the Ultralytics layout by its `data.yaml`. Broken images and label lines are told, counted
    /// and skipped.
    #[rhai_fn(return_raw)]
    pub fn dataset(context: NativeCallContext, path: ImmutableString) -> ScriptResult<Dataset> {
        let data = data::dataset(Path::new(path.as_str())).map_err(raise)?;
        let (problems, state) = (data.problems(), State::of(&context));
        for problem in problems.iter().take(TOLD) {
            state.progress.note(&format!("skipped: {problem}"));
        }
        if problems.len() > TOLD {
            state.progress.note(&format!("skipped: {} more, see .problems()", problems.len() - TOLD));
        }
        Ok(data)
    }

    /// The built-in dataset: shapes drawn from a seed on noisy backgrounds, no files needed.
    #[rhai_fn(return_raw)]
    pub fn shapes(context: NativeCallContext, options: Map) -> ScriptResult<Dataset> {
        let given = SHAPES.read(options, State::of(&context).seed())?;
        data::shapes(&given.group()).map_err(raise)
    }

    /// A row for each split: images, boxes of every class, sizes.
    #[rhai_fn(name = "summary", pure)]
    pub fn dataset_summary_of(data: &mut Dataset) -> Table {
        dataset_summary(data)
    }

    /// The same dataset with only some labelled images in train, chosen by the seed: with `keep_unlabelled` the others stay
    /// as images without labels, for `labels` of a distiller. val and test stay as they are.
    #[rhai_fn(pure, return_raw)]
    pub fn subset(context: NativeCallContext, data: &mut Dataset, options: Map) -> ScriptResult<Dataset> {
        let given = SUBSET.read(options, State::of(&context).seed())?;
        data.subset(&given.group()).map_err(raise)
    }

    /// Everything that was found wrong: file, line, and what.
    #[rhai_fn(pure)]
    pub fn problems(data: &mut Dataset) -> Table {
        let mut table =
            Table::new(format!("problems of {}", data.name), [Column::from("file"), "line".into(), "problem".into()]);
        for problem in data.problems() {
            table.push([problem.file.display().to_string().into(), problem.line.into(), problem.what.into()]);
        }
        table
    }

    /// The names of the classes.
    #[rhai_fn(get = "classes", pure)]
    pub fn dataset_classes(data: &mut Dataset) -> Array {
        data.names.iter().map(|name| Dynamic::from(name.clone())).collect()
    }

    /// The dataset's name: the path of its `data.yaml`, or `shapes`.
    #[rhai_fn(get = "name", pure)]
    pub fn dataset_name(data: &mut Dataset) -> ImmutableString {
        data.name.as_str().into()
    }

    /// Draws a contact sheet into a file: some images with their boxes.
    #[rhai_fn(pure, return_raw)]
    pub fn show(
        context: NativeCallContext,
        data: &mut Dataset,
        path: ImmutableString,
        options: Map,
    ) -> ScriptResult<()> {
        let options: ShowOptions = SHOW.read(options, State::of(&context).seed())?.group();
        let sheet = contact_sheet(data, &options.split, options.images).map_err(raise)?;
        save_picture(&sheet, Path::new(path.as_str())).map_err(raise)
    }
}
