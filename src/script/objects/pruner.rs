//! Pruning in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{ImmutableString, Map};
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::model::Model;
use crate::options::options;
use crate::prune::{Plan, PlanReport, PruneOptions, Pruner, apply};
use crate::report::{Table, View, plan as plan_table, scores};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::Object;
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Pruner>().object::<ShownPlan>().options(&PRUNER);
    api.functions(exported_manifest!(functions));
}

static PRUNER: LazyLock<OptionSet> =
    LazyLock::new(|| OptionSet::function("pruner").group::<GranularityOption>().group::<PruneOptions>());

const GRANULARITIES: &[&str] = &["channel"];

options! {
    struct GranularityOption {
        /// What goes as a unit.
        pub granularity: String = "channel".into(), GRANULARITIES;
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
struct ShownPlan {
    plan: Plan,
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

#[export_module(manifest)]
mod functions {
    /// Prepares the pruning of a model. Nothing changes until `.prune()`, and then only the model that this gives.
    #[rhai_fn(return_raw)]
    pub fn pruner(context: NativeCallContext, model: Model, options: Map) -> ScriptResult<Pruner> {
        let given = PRUNER.read(options, State::of(&context).seed())?;
        if ["macs", "params", "ratio"].into_iter().filter(|key| given.value(key).is_some()).count() > 1 {
            return Err(raise_text(
                "pruner takes one amount: macs, params (shares that stay) or ratio (a share that goes)",
            ));
        }
        let options = given.group();
        Pruner::new(&model, options).map_err(raise)
    }

    /// A row for each channel that could go: its score, its rank (low goes first), what it costs.
    #[rhai_fn(name = "scores", pure, return_raw)]
    pub fn pruner_scores(pruner: &mut Pruner) -> ScriptResult<Table> {
        let rows = pruner.scores().map_err(raise)?;
        Ok(scores(&format!("scores of {} · {}", pruner.model().provenance().name, pruner.options()), &rows))
    }

    /// What would go, layer by layer. Nothing is changed.
    #[rhai_fn(name = "plan", pure, return_raw)]
    pub fn pruner_plan(pruner: &mut Pruner) -> ScriptResult<ShownPlan> {
        let plan = pruner.plan().map_err(raise)?;
        let report = plan.report(pruner.model()).map_err(raise)?;
        Ok(ShownPlan { plan, report })
    }

    /// A new, physically smaller model; the pruner's own is untouched.
    #[rhai_fn(pure, return_raw)]
    pub fn prune(pruner: &mut Pruner) -> ScriptResult<Model> {
        pruner.prune().map_err(raise)
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

    /// Applies the plan: a new, physically smaller model.
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
