//! Pruning in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{FnPtr, ImmutableString, Map};
use serde_json::{Value, json};

use super::importance::criterion;
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::eval::ActivationOptions;
use crate::model::Model;
use crate::options::{SPLITS, options};
use crate::prune::{
    Amount, Data, Granularity, Plan, PlanReport, PruneData, PruneError, PruneOptions, Pruner, Scan, apply,
};
use crate::report::{
    Table, View, branch_scores, criteria as criteria_table, mask_scores, plan as plan_table, plan_diff as diff_table,
    scores,
};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::Object;
use crate::script::options::{Given, OptionSet};
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Pruner>().object::<ShownPlan>().options(&PRUNER);
    api.functions(exported_manifest!(functions));
}

static PRUNER: LazyLock<OptionSet> = LazyLock::new(|| {
    let data =
        "images for criteria that look at what flows through, with labels for those of gradients; see criteria()";
    prune_options(OptionSet::function("pruner")).object::<Dataset>("data", data).group::<ImageOptions>()
});

options! {
    struct ImageOptions {
        /// The split that images are from.
        pub split: String = "train".into(), SPLITS;
        /// Images looked at, from the start of the split; all if it has fewer.
        pub images: usize = 64, 1..=1_000_000;
        /// Images a batch.
        pub batch: usize = 8, 1..=4096;
    }
}

impl Object for Pruner {
    const NAME: &'static str = "Pruner";

    fn show(&self, _: View) -> String {
        format!("pruner of {} · {}", self.model().provenance().name, self.options())
    }

    fn json(&self) -> Value {
        json!({ "pruner": self.model().provenance().name, "options": self.options() })
    }
}

/// A plan, and what it would do to its model.
#[derive(Clone)]
pub struct ShownPlan {
    pub plan: Plan,
    report: PlanReport,
}

impl Object for ShownPlan {
    const NAME: &'static str = "Plan";

    fn show(&self, view: View) -> String {
        plan_table(&self.plan, &self.report).render(view)
    }

    fn json(&self) -> Value {
        plan_table(&self.plan, &self.report).json()
    }
}

/// Measures what the criterion needs of the images, seen and stopped by whoever listens.
fn measure(context: &NativeCallContext, pruner: &Pruner) -> ScriptResult<()> {
    pruner.measure(State::of(context).progress.as_ref()).map_err(raise)
}

/// The options of a pruner; images for criteria come after.
pub fn prune_options(set: OptionSet) -> OptionSet {
    let scan = "a Scan of the model: the amount is spent where it says that costs least; see sensitivity";
    set.group::<PruneOptions>().callable("importance").object::<Scan>("scan", scan)
}

/// The pruner of a model that the options ask for, with images for its criterion.
pub fn read_pruner(
    context: &NativeCallContext,
    given: &Given,
    model: &Model,
    images: Option<PruneData>,
) -> ScriptResult<Pruner> {
    let amounts = ["macs", "params", "latency", "ratio"].into_iter().filter(|key| given.value(key).is_some()).count();
    if amounts > 1 {
        return Err(raise_text(format!(
            "{} takes one amount: macs, params, latency (shares that stay) or ratio (a share that goes)",
            given.name()
        )));
    }
    let mut options: PruneOptions = given.group();
    if amounts == 0 && !options.ratios.is_empty() {
        options.amount = Amount::Ratios;
    }
    let granularity = options.granularity;
    if let Some(key) = ["macs", "params", "latency", "ratios"]
        .into_iter()
        .find(|key| granularity.masks() && given.value(key).is_some())
    {
        return Err(raise(PruneError::SavesNothing { granularity, found: key.to_owned() }));
    }
    for (key, own) in [("pattern", Granularity::NM), ("block", Granularity::Block)] {
        if granularity != own && given.value(key).is_some() {
            return Err(
                given.wrong(key, &format!("a value only with granularity: \"{own}\", here it is \"{granularity}\""))
            );
        }
    }
    let size = options.size;
    let function = given.value("importance").and_then(|value| value.clone().try_cast::<FnPtr>());
    let pruner = match function {
        Some(function) => {
            let needs = if images.is_some() { Data::Labels } else { Data::None };
            Pruner::with_criterion(model, options, criterion(context, function).needing(needs))
        }
        None => Pruner::new(model, options),
    };
    let pruner = pruner.map_err(raise)?;
    let pruner = match given.object::<Scan>("scan") {
        Some(scan) => pruner.with_scan(&scan).map_err(raise)?,
        None => pruner,
    };
    Ok(match images {
        Some(PruneData { dataset, options }) => {
            pruner.with_data(PruneData { dataset, options: ActivationOptions { size, ..options } })
        }
        None => pruner,
    })
}

#[export_module(manifest)]
mod functions {
    /// Prepares the pruning of a model. Nothing changes until `.prune()`, and then only the model that this gives.
    #[rhai_fn(return_raw)]
    pub fn pruner(context: NativeCallContext, model: Model, options: Map) -> ScriptResult<Pruner> {
        let given = PRUNER.read(options, State::of(&context).seed())?;
        let ImageOptions { split, images, batch } = given.group();
        let images = given.object::<Dataset>("data").map(|dataset| {
            let options = ActivationOptions { images, batch, split, ..ActivationOptions::default() };
            PruneData { dataset, options }
        });
        read_pruner(&context, &given, &model, images)
    }

    /// A row for each criterion that `importance` names: what it goes by, what data it needs, formula and paper.
    pub fn criteria() -> Table {
        criteria_table()
    }

    /// A row for each channel that could go: its score, its rank (low goes first), what it costs. For granularity depth a row
    /// for each residual branch, for those of masks a row for each layer: what the scores of its single weights are like.
    #[rhai_fn(name = "scores", pure, return_raw)]
    pub fn pruner_scores(context: NativeCallContext, pruner: &mut Pruner) -> ScriptResult<Table> {
        measure(&context, pruner)?;
        let title = format!("scores of {} · {}", pruner.model().provenance().name, pruner.options());
        Ok(match pruner.options().granularity {
            Granularity::Weight | Granularity::NM | Granularity::Block => {
                mask_scores(&title, &pruner.mask_scores().map_err(raise)?)
            }
            Granularity::Depth => branch_scores(&title, &pruner.branch_scores().map_err(raise)?),
            Granularity::Channel | Granularity::Filter => scores(&title, &pruner.scores().map_err(raise)?),
        })
    }

    /// What would go, layer by layer. Nothing is changed.
    #[rhai_fn(name = "plan", pure, return_raw)]
    pub fn pruner_plan(context: NativeCallContext, pruner: &mut Pruner) -> ScriptResult<ShownPlan> {
        let plan = pruner.plan_with(State::of(&context).progress.as_ref()).map_err(raise)?;
        let report = plan.report(pruner.model()).map_err(raise)?;
        Ok(ShownPlan { plan, report })
    }

    /// What is tied to the channels of a layer, or of each in a module, and by which nodes: a tree.
    #[rhai_fn(pure, return_raw)]
    pub fn explain(pruner: &mut Pruner, layer: ImmutableString) -> ScriptResult<ImmutableString> {
        let found = pruner.explain(&layer).map_err(raise)?;
        Ok(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into())
    }

    /// A new model, physically smaller or with masks that hold weights at zero; the pruner's own is untouched.
    #[rhai_fn(pure, return_raw)]
    pub fn prune(context: NativeCallContext, pruner: &mut Pruner) -> ScriptResult<Model> {
        let plan = pruner.plan_with(State::of(&context).progress.as_ref()).map_err(raise)?;
        apply(pruner.model(), &plan).map_err(raise)
    }

    /// Opens a plan that `plan.save` wrote, for a model that it fits.
    #[rhai_fn(return_raw)]
    pub fn load_plan(path: ImmutableString, model: Model) -> ScriptResult<ShownPlan> {
        let plan = Plan::load(Path::new(path.as_str())).map_err(raise)?;
        let report = plan.report(&model).map_err(raise)?;
        Ok(ShownPlan { plan, report })
    }

    /// A row for each convolution: channels, parameters and MACs before and after.
    #[rhai_fn(name = "table", pure)]
    pub fn plan_as_table(plan: &mut ShownPlan) -> Table {
        plan_table(&plan.plan, &plan.report)
    }

    /// A row for each layer of which this plan and another remove different channels.
    #[rhai_fn(name = "diff", pure)]
    pub fn plan_diff(plan: &mut ShownPlan, other: ShownPlan) -> Table {
        let title = format!("here: {} · there: {}", plan.plan.asked, other.plan.asked);
        diff_table(&title, &plan.plan.diff(&other.plan))
    }

    /// Share of the MACs that stays.
    #[rhai_fn(get = "macs", pure)]
    pub fn plan_macs(plan: &mut ShownPlan) -> f64 {
        plan.report.macs_share()
    }

    /// Share of the parameters that stays.
    #[rhai_fn(get = "params", pure)]
    pub fn plan_params(plan: &mut ShownPlan) -> f64 {
        plan.report.params_share()
    }

    /// Applies the plan: a new model, physically smaller or with masks.
    #[rhai_fn(name = "apply", pure, return_raw)]
    pub fn plan_apply(plan: &mut ShownPlan, model: Model) -> ScriptResult<Model> {
        apply(&model, &plan.plan).map_err(raise)
    }

    /// Writes the plan as a JSON file that can be read, edited and opened with `load_plan`.
    #[rhai_fn(name = "save", pure, return_raw)]
    pub fn plan_save(plan: &mut ShownPlan, path: ImmutableString) -> ScriptResult<()> {
        plan.plan.save(Path::new(path.as_str())).map_err(raise)
    }
}
