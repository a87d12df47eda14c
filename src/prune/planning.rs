//! From scores to plans: which channels, branches or weights go.

use super::{
    apply::apply,
    cost::CostModel,
    criteria::branch_scores,
    depth_choice::choose,
    error::PruneError,
    granularity::Granularity,
    latency::Clock,
    masks::{self, Rule},
    options::Amount,
    plan::{LayerPlan, Plan},
    pruner::Pruner,
    ranking::{Order, by_cost, in_order, ranking},
    select::{Target, select},
};
use crate::{
    model::Model,
    progress::{Progress, Silent},
};

impl Pruner {
    /// Which channels, or residual branches, go. Nothing is changed.
    ///
    /// # Errors
    /// Where the criterion does not apply, the amount cannot be met, or as [`Pruner::measure`].
    pub fn plan(&self) -> Result<Plan, PruneError> {
        self.plan_with(&Silent)
    }

    /// [`Pruner::plan`], for a listener to follow what is measured and to stop it. A plan by time is timed once.
    ///
    /// # Errors
    /// As [`Pruner::plan`], or a listener that asks to stop.
    pub fn plan_with(&self, progress: &dyn Progress) -> Result<Plan, PruneError> {
        if self.options.order == Order::Layers {
            return Err(PruneError::LayersAtOnce);
        }
        if let Some(known) = self.timed.get() {
            return Ok(known.clone());
        }
        self.measure(progress)?;
        if self.options.granularity.masks() {
            return self.plan_masks();
        }
        if self.options.granularity == Granularity::Depth {
            return self.plan_of_branches();
        }
        let costs = self.costs()?;
        let ranking = ranking(self.score()?, self.comparison, &costs.of_one(&self.groups));
        let ranking = in_order(ranking, self.options.order);
        let of = |amount: Amount, clock: Option<&Clock>| self.plan_for(ranking.clone(), &costs, amount, clock);
        let Amount::Latency(share) = self.options.amount else { return of(self.options.amount, None) };
        let clock = Clock::new(&self.model, &self.groups, &costs, self.options.size, progress)?;
        let whole = self.whole.as_ref().map_or(&self.model, |(model, _)| model);
        let plan = clock.plan(share, whole, |aim| of(Amount::Latency(aim), Some(&clock)), progress)?;
        Ok(self.timed.get_or_init(|| plan).clone())
    }

    /// The plan for an amount.
    fn plan_for(
        &self,
        ranking: Vec<Vec<(f64, usize)>>,
        costs: &CostModel,
        amount: Amount,
        clock: Option<&Clock>,
    ) -> Result<Plan, PruneError> {
        let target = Target::of(amount, costs, clock, &self.groups, &self.ignored)?;
        let ranking = match (&self.curves, &target) {
            (Some(curves), Some(target)) => by_cost(ranking, curves, &target.saved(&self.groups)),
            _ => ranking,
        };
        let target = target.map(|target| match self.whole {
            Some((_, whole)) => target.of_whole(whole),
            None => target,
        });
        let kept = select(&self.limits, &ranking, target.as_ref())?;
        Ok(self.plan_of(&ranking, &kept))
    }

    /// The plan by which every group keeps so many coupled channels, those last in its ranking.
    fn plan_of(&self, ranking: &[Vec<(f64, usize)>], kept: &[usize]) -> Plan {
        let mut plan = Plan {
            model: self.model.provenance().name.clone(),
            asked: self.options.to_string(),
            size: self.options.size,
            ..Plan::default()
        };
        for ((group, kept), order) in self.groups.all().iter().zip(kept).zip(ranking) {
            let gone = order[..order.len() - kept].iter().map(|&(_, place)| group.channels[place]);
            let name = &self.model.graph().node(group.layer).name;
            let layer = plan
                .layers
                .entry(name.clone())
                .or_insert_with(|| LayerPlan { channels: self.groups.labels(group.layer).len(), remove: Vec::new() });
            layer.remove.extend(gone);
            layer.remove.sort_unstable();
        }
        plan
    }

    fn plan_of_branches(&self) -> Result<Plan, PruneError> {
        let scores = branch_scores(&self.context()?, &*self.criterion)?;
        let branches = choose(self.model.graph(), &scores, &self.options)?;
        let (model, asked) = (self.model.provenance().name.clone(), self.options.to_string());
        Ok(Plan { model, asked, size: self.options.size, branches, ..Plan::default() })
    }

    /// Which weights are held at zero.
    fn plan_masks(&self) -> Result<Plan, PruneError> {
        let rule = Rule::of(&self.options, self.model.graph())?;
        let mut scores = self.weight_scores()?;
        if self.options.order == Order::Highest {
            scores.iter_mut().flat_map(|layer| &mut layer.scores).for_each(|score| *score = -*score);
        }
        Ok(Plan {
            model: self.model.provenance().name.clone(),
            asked: self.options.to_string(),
            size: self.options.size,
            masks: masks::select(&self.model, &scores, &rule)?,
            ..Plan::default()
        })
    }

    /// Plans and applies: a new model, physically smaller or with masks.
    ///
    /// # Errors
    /// As [`Pruner::plan`] and [`apply`].
    pub fn prune(&self) -> Result<Model, PruneError> {
        apply(&self.model, &self.plan()?)
    }
}
