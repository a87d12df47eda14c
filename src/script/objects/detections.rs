//! What a model finds in an image.

use std::path::{Path, PathBuf};

use rhai::plugin::*;
use rhai::{ImmutableString, Map};
use serde_json::Value;

use super::result::ScriptResult;
use super::table::row_map;
use crate::data::read_image;
use crate::eval::{Detection, EvalError, PredictOptions, Predictor, Subject};
use crate::report::{LabelledBox, Table, View, detections, draw_boxes, save_picture};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;

pub fn bind(api: &mut Api) {
    api.object::<Detections>();
    api.functions(exported_manifest!(functions));
}

/// Boxes, and the image they are in.
#[derive(Clone)]
pub struct Detections {
    path: PathBuf,
    found: Vec<Detection>,
    classes: Vec<String>,
}

impl Detections {
    /// Looks at an image.
    pub fn find<'a>(by: impl Into<Subject<'a>>, path: &Path, options: &PredictOptions) -> Result<Self, EvalError> {
        let by = by.into();
        let found = Predictor::new(by, *options)?.predict_file(path)?;
        Ok(Self { path: path.into(), found, classes: by.classes().to_vec() })
    }

    fn table(&self) -> Table {
        detections(&self.path.display().to_string(), &self.found, &self.classes)
    }

    fn boxes(&self) -> Vec<LabelledBox> {
        let labelled = |found: &Detection| LabelledBox {
            class: found.class,
            label: format!("{} {:.2}", self.classes.get(found.class).map_or("?", String::as_str), found.confidence),
            corners: found.corners,
        };
        // The most confident is drawn last, on top.
        self.found.iter().rev().map(labelled).collect()
    }
}

impl Object for Detections {
    const NAME: &'static str = "Detections";

    fn show(&self, view: View) -> String {
        self.table().render(view)
    }

    fn json(&self) -> Value {
        self.table().json()
    }
}

#[export_module(manifest)]
mod functions {
    /// The boxes as a table: class, confidence, corners in pixels.
    #[rhai_fn(name = "table", pure)]
    pub fn detections_table(detections: &mut Detections) -> Table {
        detections.table()
    }

    /// The number of boxes.
    #[rhai_fn(name = "len", get = "len", pure)]
    pub fn detections_len(detections: &mut Detections) -> i64 {
        detections.found.len() as i64
    }

    /// A box as a map: class, confidence, left, top, right, bottom; negative numbers count from the end.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn detection_at(detections: &mut Detections, index: i64) -> ScriptResult<Map> {
        let table = detections.table();
        table.row(index).map(|row| row_map(&table, row)).map_err(raise)
    }

    /// Draws the image with its boxes into a file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn detections_plot(detections: &mut Detections, path: ImmutableString) -> ScriptResult<()> {
        let mut image = read_image(&detections.path).map_err(raise)?;
        draw_boxes(&mut image, &detections.boxes()).map_err(raise)?;
        save_picture(&image, Path::new(path.as_str())).map_err(raise)
    }
}
