//! Runs of training in scripts.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString};
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::model::Model;
use crate::report::{Table, View, curves, history, plot_run, run_panels, run_report, run_times};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::state::State;
use crate::train::Run;

pub fn bind(api: &mut Api) {
    api.object::<Run>();
    api.functions(exported_manifest!(functions));
}

impl Object for Run {
    const NAME: &'static str = "Run";

    fn show(&self, view: View) -> String {
        let table = history(self);
        let rows = table.len();
        // The last epochs say how it went; `.history` has all.
        let skip = rows.saturating_sub(SHOWN);
        let mut at = 0;
        let last = table.filter::<std::convert::Infallible>(|_| {
            at += 1;
            Ok(at > skip)
        });
        let mut text = last.map_or_else(|never| match never {}, |last| last.render(view));
        if let Some(folder) = &self.folder {
            text += &format!("\nkept in {}", folder.display());
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "epochs": self.history.len(),
            "best": self.best,
            "seconds": self.seconds,
            "time": run_times(self).json_rows(),
            "stopped": self.stopped,
            "folder": self.folder,
            "history": history(self).json_rows(),
        })
    }
}

/// Epochs in a run's display.
const SHOWN: usize = 5;

#[export_module(manifest)]
mod functions {
    /// The best model by validation.
    #[rhai_fn(get = "model", pure)]
    pub fn best_model(run: &mut Run) -> Model {
        run.model.clone()
    }

    /// The model after the last step.
    #[rhai_fn(get = "last", pure)]
    pub fn last_model(run: &mut Run) -> Model {
        run.last.clone()
    }

    /// The epoch of the best validation, counted from 1.
    #[rhai_fn(get = "best", pure)]
    pub fn best_epoch(run: &mut Run) -> Dynamic {
        run.best.map_or(Dynamic::UNIT, |epoch| (epoch as i64).into())
    }

    /// A row for each epoch: losses, validation, learning rate.
    #[rhai_fn(get = "history", pure)]
    pub fn run_history(run: &mut Run) -> Table {
        history(run)
    }

    /// Seconds of training and validation.
    #[rhai_fn(get = "seconds", pure)]
    pub fn run_seconds(run: &mut Run) -> f64 {
        run.seconds
    }

    /// Where these went: a row for data, forward, teacher, loss, backward, optimiser, validation and files.
    #[rhai_fn(get = "time", pure)]
    pub fn run_time(run: &mut Run) -> Table {
        run_times(run)
    }

    /// Seconds until a validation first had this mAP50-95; nothing where none had.
    #[rhai_fn(pure)]
    pub fn reached(run: &mut Run, map: f64) -> Dynamic {
        run.reached(map).map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// Whether it ended before all epochs because somebody asked it to.
    #[rhai_fn(get = "stopped", pure)]
    pub fn stopped(run: &mut Run) -> bool {
        run.stopped
    }

    /// The folder in which the run is kept; nothing when it isn't.
    #[rhai_fn(get = "folder", pure)]
    pub fn folder(run: &mut Run) -> Dynamic {
        run.folder.as_ref().map_or(Dynamic::UNIT, |folder| folder.display().to_string().into())
    }

    /// Losses, accuracy and learning rate over the epochs, as curves of characters.
    #[rhai_fn(name = "plot", pure)]
    pub fn plot_in_terminal(context: NativeCallContext, run: &mut Run) -> ImmutableString {
        let width = State::of(&context).output.view().width;
        let panels =
            run_panels(run).into_iter().filter(|panel| !panel.series.iter().all(|series| series.points.is_empty()));
        panels.map(|panel| curves(&panel, width)).collect::<Vec<_>>().join("\n\n").into()
    }

    /// Writes the run as one HTML file that needs no network, `report.html` in that folder: accuracy on val, training, layers,
    /// images on which it disagrees most with the teacher or the labels, time, settings. Gives the file's path.
    #[rhai_fn(name = "report", pure, return_raw)]
    pub fn report_run(
        context: NativeCallContext,
        run: &mut Run,
        folder: ImmutableString,
    ) -> ScriptResult<ImmutableString> {
        let state = State::of(&context);
        let path = run_report(run, Path::new(folder.as_str()), state.progress.as_ref()).map_err(raise)?;
        Ok(path.display().to_string().into())
    }

    /// Draws losses, accuracy and learning rate over the epochs into an `.svg` or `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn plot_to_file(run: &mut Run, path: ImmutableString) -> ScriptResult<()> {
        plot_run(run, Path::new(path.as_str())).map_err(raise)
    }
}
