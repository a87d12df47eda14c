//! Gradual pruning in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map};
use serde_json::json;

use super::fit::{fit_options, read_fit};
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::distill::{DistillOptions, Distiller, Imitation};
use crate::model::Model;
use crate::prune::{FineTune, Gradual, GradualOptions, Pruner, Tuner, gradual};
use crate::report::{Table, View, curves, gradual_panels, gradual_report, gradual_steps, plot};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;
use crate::train::Sparsity;

pub fn bind(api: &mut Api) {
    api.object::<Gradual>().options(&GRADUAL);
    api.functions(exported_manifest!(functions));
}

static GRADUAL: LazyLock<OptionSet> = LazyLock::new(|| {
    let set = OptionSet::method::<Pruner>("gradual").group::<GradualOptions>();
    let set = set.object::<Model>("teacher", "a model that is imitated while training, such as the one that is pruned");
    let set = set.object::<Distiller>(
        "distiller",
        "a Distiller whose teacher is imitated, by its terms; its student does not count",
    );
    fit_options(set, "runs/gradual")
});

impl Object for Gradual {
    const NAME: &'static str = "Gradual";

    fn show(&self, view: View) -> String {
        let mut text = gradual_steps(self).render(view);
        if let Some(folder) = &self.folder {
            text += &format!("\nkept in {}", folder.display());
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "asked": self.asked,
            "before": self.base,
            "stopped": self.stopped,
            "folder": self.folder,
            "steps": gradual_steps(self).json_rows(),
        })
    }
}

#[export_module(manifest)]
mod functions {
    /// Prunes in steps with training between them, each scored anew, and trains the result in the end. Ctrl-C ends it after
    /// the current batch; `resume`, the folder, goes on.
    #[rhai_fn(name = "gradual", pure, return_raw)]
    pub fn pruner_gradual(
        context: NativeCallContext,
        pruner: &mut Pruner,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Gradual> {
        let state = State::of(&context);
        let given = GRADUAL.read(options, state.seed())?;
        if given.value("sparsity").is_some_and(|way| way.to_string() == Sparsity::Growing.name()) {
            let others = "another way than growing, as what goes is decided anew at every step: \"l1\", \"slimming\" or \"group_lasso\"";
            return Err(given.wrong("sparsity", others));
        }
        let pruned = pruner.model();
        let (options, fit) = (given.group(), read_fit(&given, pruned)?);
        let tuner: Box<dyn Tuner> = match (given.object::<Model>("teacher"), given.object::<Distiller>("distiller")) {
            (None, None) => Box::new(FineTune),
            (Some(teacher), None) => {
                Box::new(Imitation::new(&[teacher], pruned, DistillOptions::default()).map_err(raise)?)
            }
            (None, Some(distiller)) => {
                Box::new(Imitation::new(distiller.teachers(), pruned, distiller.options().clone()).map_err(raise)?)
            }
            (Some(_), Some(_)) => return Err(given.wrong("teacher", "nothing beside `distiller`, which has one")),
        };
        gradual(pruner, &data, &options, &fit, tuner.as_ref(), state.progress.as_ref()).map_err(raise)
    }

    /// The model after the last step that counts, or after the training in the end; of `compress` the best of that by
    /// validation.
    #[rhai_fn(get = "model", pure)]
    pub fn gradual_model(gradual: &mut Gradual) -> Model {
        gradual.model.clone()
    }

    /// The training in the end; nothing where it did not come to that.
    #[rhai_fn(get = "run", pure)]
    pub fn gradual_run(gradual: &mut Gradual) -> Dynamic {
        gradual.run.clone().map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// A row for each step: what stays, and mAP50-95 once pruned, recalibrated and trained.
    #[rhai_fn(get = "steps", pure)]
    pub fn gradual_table(gradual: &mut Gradual) -> Table {
        gradual_steps(gradual)
    }

    /// mAP50-95 of the unpruned model.
    #[rhai_fn(get = "before", pure)]
    pub fn gradual_before(gradual: &mut Gradual) -> f64 {
        gradual.base
    }

    /// Whether it ended early because somebody asked it to.
    #[rhai_fn(get = "stopped", pure)]
    pub fn gradual_stopped(gradual: &mut Gradual) -> bool {
        gradual.stopped
    }

    /// The folder in which it is kept; nothing when it isn't.
    #[rhai_fn(get = "folder", pure)]
    pub fn gradual_folder(gradual: &mut Gradual) -> Dynamic {
        gradual.folder.as_ref().map_or(Dynamic::UNIT, |folder| folder.display().to_string().into())
    }

    /// Writes the steps, and the run in the end as its own report does, as one HTML file that needs no network: `report.html` in
    /// that folder. Gives the file's path.
    #[rhai_fn(name = "report", pure, return_raw)]
    pub fn report_gradual(
        context: NativeCallContext,
        gradual: &mut Gradual,
        folder: ImmutableString,
    ) -> ScriptResult<ImmutableString> {
        let state = State::of(&context);
        let path = gradual_report(gradual, Path::new(folder.as_str()), state.progress.as_ref()).map_err(raise)?;
        Ok(path.display().to_string().into())
    }

    /// Accuracy over the steps, as curves of characters.
    #[rhai_fn(name = "plot", pure)]
    pub fn gradual_curves(context: NativeCallContext, gradual: &mut Gradual) -> ImmutableString {
        let width = State::of(&context).output.view().width;
        let panels =
            gradual_panels(gradual).into_iter().filter(|panel| panel.series.iter().any(|line| !line.points.is_empty()));
        panels.map(|panel| curves(&panel, width)).collect::<Vec<_>>().join("\n\n").into()
    }

    /// Draws accuracy over the steps, and what stays, into an `.svg` or `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn gradual_plot(gradual: &mut Gradual, path: ImmutableString) -> ScriptResult<()> {
        plot(&gradual_panels(gradual), Path::new(path.as_str())).map_err(raise)
    }
}
