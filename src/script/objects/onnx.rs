//! ONNX files in scripts: written, and run by another engine.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{ImmutableString, Map};
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::io::onnx::{ExportOptions, Exported, export};
use crate::model::Model;
use crate::report::{View, exported};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Exported>().options(&EXPORT);
    api.functions(exported_manifest!(functions));
}

static EXPORT: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Model>("export").group::<ExportOptions>());

impl Object for Exported {
    const NAME: &'static str = "Exported";

    fn show(&self, _: View) -> String {
        exported(self)
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }
}

#[export_module(manifest)]
mod functions {
    /// Writes the model as an ONNX file that ONNX Runtime, OpenVINO, TensorRT or Ultralytics run: boxes are decoded in the
    /// graph, and the metadata names the classes. Another engine runs it first and must give what the model gives.
    #[rhai_fn(name = "export", pure, return_raw)]
    pub fn export_model(
        context: NativeCallContext,
        model: &mut Model,
        path: ImmutableString,
        options: Map,
    ) -> ScriptResult<Exported> {
        let state = State::of(&context);
        let options: ExportOptions = EXPORT.read(options, state.seed())?.group();
        let exported = export(model, Path::new(path.as_str()), &options, state.progress.as_ref()).map_err(raise)?;
        if let Some(odd) = &exported.odd_widths {
            state.progress.note(&odd.to_string());
        }
        Ok(exported)
    }

    /// Where it was written.
    #[rhai_fn(get = "path", pure)]
    pub fn exported_path(exported: &mut Exported) -> ImmutableString {
        exported.path.display().to_string().into()
    }

    /// The largest difference between what another engine computes and what the model gives.
    #[rhai_fn(get = "difference", pure)]
    pub fn exported_difference(exported: &mut Exported) -> f64 {
        exported.difference.into()
    }

    /// The bytes of the file.
    #[rhai_fn(get = "bytes", pure)]
    pub fn exported_bytes(exported: &mut Exported) -> i64 {
        exported.bytes as i64
    }
}
