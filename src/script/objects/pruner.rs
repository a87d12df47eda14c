//! Pruning in scripts.

use std::path::Path;
use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{ImmutableString, Map};
use serde_json::{Value, json};

use super::model::short;
use super::result::ScriptResult;
use crate::model::Model;
use crate::options::Kind;
use crate::prune::{About, Amount, CRITERIA, DEFAULT_CRITERION, Plan, PlanReport, PruneOptions, Pruner, Scope, apply};
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

static IMPORTANCES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| CRITERIA.iter().map(|criterion| criterion.about()).flat_map(names).collect());
static SCOPES: LazyLock<Vec<&'static str>> = LazyLock::new(|| Scope::NAMES.iter().map(|(name, _)| *name).collect());

/// The names that options accept for a criterion.
fn names(about: About) -> impl Iterator<Item = &'static str> {
    [about.name].into_iter().chain(about.aliases.iter().copied())
}

static PRUNER: LazyLock<OptionSet> = LazyLock::new(|| {
    let default = PruneOptions::default();
    let scope = Scope::NAMES.iter().find(|(_, value)| *value == default.scope).map_or("", |(name, _)| name);
    OptionSet::function("pruner")
        .one_of("granularity", &["channel"], "channel", "what goes as a unit")
        .one_of("importance", &IMPORTANCES, DEFAULT_CRITERION, "how channels are scored; low goes first")
        .one_of("scope", &SCOPES, scope, "which channels compete: those of a layer, or all")
        .optional("macs", Kind::Number(0.001..=1.0), "share of the MACs that stays; 0.5 when no amount is given")
        .optional("params", Kind::Number(0.001..=1.0), "share of the parameters that stays")
        .optional("ratio", Kind::Number(0.0..=0.999), "share of the channels that goes")
        .int("size", 32..=8192, default.size as i64, "side of the images that MACs are counted for, in pixels")
        .int("round_to", 1..=1024, default.round_to as i64, "layers keep a multiple of this many channels")
        .int("min_channels", 1..=65_536, default.min_channels as i64, "layers never keep fewer channels")
        .float(
            "max_ratio",
            0.0..=1.0,
            short(default.max_ratio as f32),
            "largest share of its channels that a layer may lose",
        )
        .optional(
            "ignore",
            Kind::Texts(&[]),
            "patterns of layers that stay whole, such as \"model.24\" or \"model.*.m\"",
        )
        .optional("seed", Kind::Int(0..=i64::MAX), "of random importance; otherwise that of seed(n)")
});

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
        let options = PRUNER.read(options, State::of(&context).seed())?;
        let amounts = [
            options.given_float("macs").map(Amount::Macs),
            options.given_float("params").map(Amount::Params),
            options.given_float("ratio").map(Amount::Ratio),
        ];
        let mut given = amounts.into_iter().flatten();
        let amount = given.next();
        if given.next().is_some() {
            return Err(raise_text(
                "pruner takes one amount: macs, params (shares that stay) or ratio (a share that goes)",
            ));
        }
        let default = PruneOptions::default();
        let scope = options.text("scope");
        let options = PruneOptions {
            importance: options.text("importance"),
            scope: Scope::NAMES.iter().find(|(known, _)| *known == scope).map_or(default.scope, |found| found.1),
            amount: amount.unwrap_or(default.amount),
            size: options.int("size"),
            round_to: options.int("round_to"),
            min_channels: options.int("min_channels"),
            max_ratio: options.float("max_ratio"),
            ignore: options.texts("ignore"),
            seed: options.given_int("seed").unwrap_or(State::of(&context).seed()),
        };
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
