//! Many runs of a script's function over a grid of settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Dynamic, FnPtr, ImmutableString, Map};

use super::importance::reason;
use super::result::ScriptResult;
use crate::options::{Value, options};
use crate::report::{Table, View, plot_pareto, sweep_pareto, sweep_points, sweep_report, sweep_runs};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::{Object, short_text};
use crate::script::options::{OptionSet, dynamic, plain};
use crate::script::state::State;
use crate::sweep::{Figures, Grid, Job, Journal, Outcome, Shard, SweepError, figures_of, points};
use crate::train::Run;

pub fn bind(api: &mut Api) {
    api.object::<Sweep>().options(&SWEEP).options(&PLOT);
    api.functions(exported_manifest!(functions));
}

static SWEEP: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::function("sweep").after(2).group::<SweepOptions>());
static PLOT: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Sweep>("plot").group::<PlotOptions>());

options! {
    struct SweepOptions {
        /// Every combination is run with the seeds 0, 1, …, one less than this.
        pub seeds: u64 = 3, 1..=10_000;
        /// Where each run's outcome is kept, and what was done before is found; "" keeps nothing.
        pub folder: String = "runs/sweep".into();
        /// Which runs this process makes: "2/8" is the second eighth; "slurm" goes by the job array that the process is part of.
        pub shard: String = "1/1".into();
    }
}

options! {
    /// What a picture of costs and gains shows.
    pub struct PlotOptions {
        /// The figure along the horizontal axis, of which less is better.
        pub x: String = "macs".into();
        /// The figure along the vertical axis, of which more is better.
        pub y: String = "map".into();
    }
}

/// Runs over a grid of settings, as far as they are made.
#[derive(Clone, Debug)]
pub struct Sweep {
    journal: Journal,
    /// How many runs the grid has.
    total: usize,
}

impl Sweep {
    fn table(&self) -> Table {
        let outcomes = self.journal.outcomes();
        let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
        let failed = if failed > 0 { format!(" · {failed} failed") } else { String::new() };
        let kept = self.journal.folder().map(|folder| format!(" · kept in {}", folder.display())).unwrap_or_default();
        sweep_points(&points(outcomes), format!("{} of {} runs{failed}{kept}", outcomes.len(), self.total))
    }
}

impl Object for Sweep {
    const NAME: &'static str = "Sweep";

    fn show(&self, view: View) -> String {
        self.table().render(view)
    }

    fn json(&self) -> serde_json::Value {
        self.table().json_rows()
    }
}

/// The values of a grid: arrays of them, or single ones.
fn grid(values: &Map, seeds: u64) -> ScriptResult<Grid> {
    let choices = |(name, given): (&_, &Dynamic)| {
        let name = ToString::to_string(name);
        let all = given.clone().into_array().unwrap_or_else(|_| vec![given.clone()]);
        let plain: Option<Vec<Value>> = all.iter().map(plain).collect();
        match plain {
            Some(plain) => Ok((name, plain)),
            None => Err(raise(SweepError::NotPlain(name))),
        }
    };
    let values = values.iter().map(choices).collect::<ScriptResult<BTreeMap<String, Vec<Value>>>>()?;
    Grid::new(values, seeds).map_err(raise)
}

/// What the function gave: a run, or figures.
fn figures(given: &Dynamic) -> Result<Figures, String> {
    if let Some(run) = given.read_lock::<Run>() {
        return figures_of(&run).map_err(|error| error.to_string());
    }
    let wrong = || format!("it gave {}; give a Run, or a map of numbers such as #{{ map: 0.5 }}", short_text(given));
    let map = given.read_lock::<Map>().ok_or_else(wrong)?;
    let number = |value: &Dynamic| value.as_float().or_else(|_| value.as_int().map(|whole| whole as f64));
    map.iter()
        .map(|(name, value)| match number(value) {
            Ok(number) if number.is_finite() => Ok((name.to_string(), number)),
            _ => Err(format!("`{name}` of what it gave is {}, not a finite number", short_text(value))),
        })
        .collect()
}

fn call(context: &NativeCallContext, function: &FnPtr, job: &Job) -> Result<Figures, String> {
    let mut settings: Map = job.settings.iter().map(|(name, value)| (name.into(), dynamic(value))).collect();
    settings.insert("seed".into(), Dynamic::from(job.seed as i64));
    let given: Dynamic = function.call_within_context(context, (settings,)).map_err(|error| reason(*error))?;
    figures(&given)
}

#[export_module(manifest)]
mod functions {
    /// Calls a function with every combination of values and each seed, and sums up what the runs came to (a Run, or a map of
    /// numbers): `sweep(#{ macs: [0.25, 0.5] }, |o| pruner(net, #{ macs: o.macs }).prune().fit(data, #{ seed: o.seed }))`. The same call
    /// goes on where it was stopped, by whatever; processes with other shards may work in the same folder.
    #[rhai_fn(return_raw)]
    pub fn sweep(context: NativeCallContext, values: Map, function: FnPtr, options: Map) -> ScriptResult<Sweep> {
        let state = State::of(&context);
        let given: SweepOptions = SWEEP.read(options, state.seed())?.group();
        if values.contains_key("seed") {
            return Err(raise_text("a sweep's seeds are its option `seeds`; the function finds each as `seed`"));
        }
        let grid = grid(&values, given.seeds)?;
        let shard = Shard::read(&given.shard, |name| std::env::var(name).ok()).map_err(raise)?;
        let folder = (!given.folder.is_empty()).then(|| Path::new(&given.folder));
        let mut journal = Journal::open(folder, &grid).map_err(raise)?;
        let jobs = grid.jobs();
        let own: Vec<&Job> = jobs.iter().filter(|job| shard.has(job.index) && !journal.has(job)).collect();
        for (at, job) in own.iter().enumerate() {
            state.progress.note(&format!("run {} of {}: {job}", at + 1, own.len()));
            let result = call(&context, &function, job);
            // What was stopped is not what the run comes to.
            if state.interrupt.requested() {
                break;
            }
            if let Err(error) = &result {
                state.progress.note(&format!("failed: {error}"));
            }
            journal.keep(Outcome { job: (*job).clone(), result }).map_err(raise)?;
        }
        journal.refresh().map_err(raise)?;
        Ok(Sweep { journal, total: jobs.len() })
    }

    /// A row for each combination of values: mean and standard deviation of each figure, and how many runs there are.
    #[rhai_fn(get = "table", pure)]
    pub fn sweep_table(sweep: &mut Sweep) -> Table {
        sweep.table()
    }

    /// A row for each run.
    #[rhai_fn(get = "runs", pure)]
    pub fn sweep_each(sweep: &mut Sweep) -> Table {
        sweep_runs(sweep.journal.outcomes())
    }

    /// Writes the tables and the picture as one HTML file that needs no network, `report.html` in that folder. Gives the file's
    /// path.
    #[rhai_fn(name = "report", pure, return_raw)]
    pub fn report_sweep(sweep: &mut Sweep, folder: ImmutableString) -> ScriptResult<ImmutableString> {
        let path = sweep_report(sweep.journal.outcomes(), sweep.total, Path::new(folder.as_str())).map_err(raise)?;
        Ok(path.display().to_string().into())
    }

    /// Draws one figure against another, MACs and mAP50-95 unless given, with error bars and the Pareto front, into an `.svg` or
    /// `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn plot_sweep(
        context: NativeCallContext,
        sweep: &mut Sweep,
        path: ImmutableString,
        options: Map,
    ) -> ScriptResult<()> {
        let PlotOptions { x, y } = PLOT.read(options, State::of(&context).seed())?.group();
        let points = points(sweep.journal.outcomes());
        let known: Vec<&str> = points.iter().flat_map(|point| point.figures.keys()).map(String::as_str).collect();
        if let Some(missing) = [&x, &y].into_iter().find(|name| !known.contains(&name.as_str())) {
            let mut known = known.clone();
            known.sort_unstable();
            known.dedup();
            return Err(raise_text(format!("no run has the figure `{missing}`; there are {}", known.join(", "))));
        }
        plot_pareto(&sweep_pareto(&points, &x, &y), Path::new(path.as_str())).map_err(raise)
    }
}
