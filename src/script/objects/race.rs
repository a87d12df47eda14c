//! Runs beside each other by the time that they take, in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map};
use serde_json::Value;

use super::result::ScriptResult;
use crate::options::options;
use crate::report::{Racer, Table, View, plot, race as race_table, race_panel};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::{Object, short_text};
use crate::script::options::OptionSet;
use crate::script::state::State;
use crate::train::Run;

pub fn bind(api: &mut Api) {
    api.object::<Race>().options(&RACE);
    api.functions(exported_manifest!(functions));
}

static RACE: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::function("race").after(1).group::<RaceOptions>());

options! {
    struct RaceOptions {
        /// Accuracies (mAP50-95 on val) that the runs are to reach.
        pub marks: Vec<f64> = vec![0.45, 0.5, 0.55], 0.0..=1.0;
    }
}

/// Runs and the marks that they are to reach.
#[derive(Clone, Debug)]
pub struct Race {
    racers: Vec<Racer>,
    marks: Vec<f64>,
}

impl Object for Race {
    const NAME: &'static str = "Race";

    fn show(&self, view: View) -> String {
        race_table(&self.racers, &self.marks).render(view)
    }

    fn json(&self) -> Value {
        race_table(&self.racers, &self.marks).json_rows()
    }
}

/// A run, or an array of runs one after another: the last races, and begins when the others are done.
fn racer(name: &str, value: &Dynamic) -> ScriptResult<Racer> {
    let wrong = || raise_text(format!("race takes runs, or arrays of runs; `{name}` is {}", short_text(value)));
    let runs = match value.clone().try_cast::<Run>() {
        Some(run) => vec![run],
        None => {
            let all = value.clone().into_typed_array::<Run>().map_err(|_| wrong())?;
            if all.is_empty() {
                return Err(wrong());
            }
            all
        }
    };
    let before = runs.iter().rev().skip(1).map(|run| run.seconds).sum();
    let run = runs.into_iter().next_back().ok_or_else(wrong)?;
    Ok(Racer { name: name.to_owned(), run, before })
}

#[export_module(manifest)]
mod functions {
    /// Runs by name, beside each other: how long each takes to each of the marks. An array of runs is what is done one after
    /// another: `race(#{ whole: a, distilled: [teacher, b] })` counts the teacher's training too.
    #[rhai_fn(return_raw)]
    pub fn race(context: NativeCallContext, runs: Map, options: Map) -> ScriptResult<Race> {
        let given = RACE.read(options, State::of(&context).seed())?;
        if runs.is_empty() {
            return Err(raise_text("race needs a run: race(#{ whole: run })"));
        }
        let racers = runs.iter().map(|(name, value)| racer(name, value)).collect::<ScriptResult<_>>()?;
        Ok(Race { racers, marks: given.group::<RaceOptions>().marks })
    }

    /// A row for each run: seconds to each mark, the best accuracy, all seconds.
    #[rhai_fn(get = "table", pure)]
    pub fn race_rows(race: &mut Race) -> Table {
        race_table(&race.racers, &race.marks)
    }

    /// Draws accuracy over seconds, with the marks, into an `.svg` or `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn plot_race(race: &mut Race, path: ImmutableString) -> ScriptResult<()> {
        plot(&[race_panel(&race.racers, &race.marks)], Path::new(path.as_str())).map_err(raise)
    }
}
