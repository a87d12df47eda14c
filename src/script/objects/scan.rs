//! Sensitivity scans in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map};
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::data::Dataset;
use crate::prune::{Pruner, Scan, ScanOptions, ScanUnit};
use crate::report::{Table, View, correlation as correlation_table, plot_scan, scan as scan_table};
use crate::script::api::Api;
use crate::script::failure::raise;
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Scan>().options(&SENSITIVITY);
    api.functions(exported_manifest!(functions));
}

static SENSITIVITY: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::method::<Pruner>("sensitivity").group::<ScanOptions>());

impl Object for Scan {
    const NAME: &'static str = "Scan";

    fn show(&self, view: View) -> String {
        scan_table(self).render(view)
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }
}

#[export_module(manifest)]
mod functions {
    /// Measures on labelled images what leaving out the lowest-scored shares of each group's channels does to loss or mAP;
    /// with unit "channel" each channel alone.
    #[rhai_fn(pure, return_raw)]
    pub fn sensitivity(
        context: NativeCallContext,
        pruner: &mut Pruner,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Scan> {
        let state = State::of(&context);
        let options: ScanOptions = SENSITIVITY.read(options, state.seed())?.group();
        if options.unit == ScanUnit::Group {
            pruner.measure(state.progress.as_ref()).map_err(raise)?;
        }
        pruner.sensitivity(&data, &options, state.progress.as_ref()).map_err(raise)
    }

    /// Opens a scan that `scan.save` wrote.
    #[rhai_fn(return_raw)]
    pub fn load_scan(path: ImmutableString) -> ScriptResult<Scan> {
        Scan::load(Path::new(path.as_str())).map_err(raise)
    }

    /// Writes the scan as a JSON file that `load_scan` opens.
    #[rhai_fn(name = "save", pure, return_raw)]
    pub fn scan_save(scan: &mut Scan, path: ImmutableString) -> ScriptResult<()> {
        scan.save(Path::new(path.as_str())).map_err(raise)
    }

    /// A row for each group with a column for each ratio, or a row for each channel: how much worse it is without.
    #[rhai_fn(name = "table", pure)]
    pub fn scan_as_table(scan: &mut Scan) -> Table {
        scan_table(scan)
    }

    /// Draws groups down and ratios or channels across into an `.svg` or `.png` file.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn scan_plot(scan: &mut Scan, path: ImmutableString) -> ScriptResult<()> {
        plot_scan(scan, Path::new(path.as_str())).map_err(raise)
    }

    /// The mean loss of an image, or mAP50-95, of the network as it is.
    #[rhai_fn(get = "base", pure)]
    pub fn scan_base(scan: &mut Scan) -> f64 {
        scan.base
    }

    /// What removing this share of a group's channels costs, between what was measured; nothing for a group that was not
    /// scanned.
    #[rhai_fn(name = "cost", pure)]
    pub fn scan_cost(scan: &mut Scan, group: ImmutableString, share: f64) -> Dynamic {
        scan.cost(&group, share).map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// How well a pruner's scores order the channels of each group as a scan with unit "channel" found them: Spearman's rank
    /// correlation.
    #[rhai_fn(name = "correlation", pure, return_raw)]
    pub fn scan_correlation(context: NativeCallContext, scan: &mut Scan, pruner: Pruner) -> ScriptResult<Table> {
        pruner.measure(State::of(&context).progress.as_ref()).map_err(raise)?;
        let rows = scan.correlation(&pruner).map_err(raise)?;
        Ok(correlation_table(&format!("{} against {}", pruner.options(), scan.model), &rows))
    }
}
