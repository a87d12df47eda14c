//! One model and one set of options: scores, plan, pruned model.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::{
    apply::apply,
    cost::CostModel,
    criteria::{
        Context, Criterion, Data, Measured, PruneData, Scores, WeightScores, branch_scores, criterion_for, judges,
        measure, score, weight_scores,
    },
    depth::{Branch, Rewrite, branches},
    depth_choice::{choose, kept},
    error::PruneError,
    granularity::Granularity,
    groups::{Group, GroupId, Groups},
    latency::Clock,
    masks::{self, MaskScoreRow, Rule},
    options::{Amount, PruneOptions},
    plan::{LayerPlan, Plan},
    ranking::{Comparison, Order, by_cost, in_order, ranking},
    select::{Limits, Target, select},
};
use crate::{
    model::Model,
    options::Options,
    progress::{Progress, Silent},
};

/// Prunes one model with one set of options. What a criterion needs of images is measured once and scores are kept; clones
/// share them.
///
/// ```
/// use espalier::prune::{PruneOptions, Pruner};
///
/// let model = espalier::io::teacher()?;
/// let options = PruneOptions::default();
/// let plan = Pruner::new(&model, options)?.plan()?;
/// let slim = espalier::prune::apply(&model, &plan)?;
/// assert!(slim.cost(640)?.macs < model.cost(640)?.macs);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pruner {
    model: Model,
    options: PruneOptions,
    groups: Groups,
    ignored: Vec<bool>,
    limits: Vec<Limits>,
    /// What amounts are shares of, where that is not the model as it is: of which, and how much of it there is.
    whole: Option<(Model, f64)>,
    /// What it costs to remove 0, 1, 2, … channels of each group, where a scan said so.
    curves: Option<Vec<Vec<f64>>>,
    comparison: Comparison,
    criterion: Judge,
    data: Option<PruneData>,
    known: Arc<Known>,
    /// The plan, where it was timed.
    timed: Arc<OnceLock<Plan>>,
}

/// How far a model is on the way to what a pruner asks for.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// An amount, and which share of all that goes is gone with it.
    Amount { amount: Amount, gone: f64 },
    /// How many coupled channels each group keeps.
    Counts(Vec<usize>),
}

/// A criterion of the list, or the user's own.
#[derive(Clone, Debug)]
enum Judge {
    Listed(&'static dyn Criterion),
    Own(Arc<dyn Criterion>),
}

/// What was found out before.
#[derive(Debug, Default)]
struct Known {
    measured: OnceLock<Measured>,
    scores: OnceLock<Scores>,
}

/// One coupled channel's score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreRow {
    /// Name of the group that it is ranked in.
    pub group: String,
    /// The group's first convolution.
    pub layer: String,
    /// Its channel there.
    pub channel: usize,
    /// Its importance by the criterion.
    pub score: f64,
    /// Its importance in the ranking; lowest goes first. Locally its place in the group's order as a share, globally the
    /// score divided by the group's mean.
    pub rank: f64,
    /// Whether the group is kept whole because a layer of it is ignored.
    pub ignored: bool,
    /// Parameters that go when this channel alone goes.
    pub params: u64,
    /// MACs that go when this channel alone goes.
    pub macs: u64,
}

/// A residual branch's score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BranchScore {
    /// The branch's module.
    pub branch: String,
    /// Its importance by the criterion; low goes first.
    pub score: f64,
    /// Whether it stays because a layer of it is ignored.
    pub ignored: bool,
    /// Parameters that go when it alone goes.
    pub params: u64,
    /// MACs that go when it alone goes.
    pub macs: u64,
}

impl Pruner {
    /// Finds the groups and checks the options.
    ///
    /// # Errors
    /// An option out of range, a pattern that matches no layer, a graph that does not fit together.
    pub fn new(model: &Model, options: PruneOptions) -> Result<Self, PruneError> {
        options.check()?;
        let criterion = criterion_for(options.granularity, options.importance.as_deref(), options.strategy)?;
        Self::judged(model, options, Judge::Listed(criterion))
    }

    /// The same with a criterion that need not be of the list, such as an [`OwnCriterion`](super::OwnCriterion), instead of
    /// the one that the options name.
    ///
    /// # Errors
    /// As [`Pruner::new`], and a criterion that does not judge at the granularity.
    pub fn with_criterion(
        model: &Model,
        options: PruneOptions,
        criterion: impl Criterion + 'static,
    ) -> Result<Self, PruneError> {
        options.check()?;
        judges(&criterion.about(), options.granularity)?;
        Self::judged(model, options, Judge::Own(Arc::new(criterion)))
    }

    /// One of another model, such as this one's after it was pruned, with the same options, criterion and images.
    ///
    /// # Errors
    /// As [`Pruner::new`].
    pub fn of(&self, model: &Model) -> Result<Self, PruneError> {
        let other = Self::judged(model, self.options.clone(), self.criterion.clone())?;
        Ok(Self { data: self.data.clone(), ..other })
    }

    fn judged(model: &Model, options: PruneOptions, criterion: Judge) -> Result<Self, PruneError> {
        let options = PruneOptions { importance: Some(criterion.about().name.to_owned()), strategy: None, ..options };
        let comparison = options.comparison()?;
        let groups = Groups::of(model.graph())?;
        let ignored = options.ignored(model.graph(), &groups)?;
        if options.granularity.masks() {
            Rule::of(&options, model.graph())?;
        }
        let limits = Limits::of(&options, model.graph(), &groups, &ignored)?;
        let (model, known, timed) = (model.clone(), Arc::default(), Arc::default());
        Ok(Self {
            model,
            options,
            groups,
            ignored,
            limits,
            whole: None,
            curves: None,
            comparison,
            criterion,
            data: None,
            known,
            timed,
        })
    }

    /// The same pruner with images for criteria that need them.
    pub fn with_data(self, data: PruneData) -> Self {
        Self { data: Some(data), known: Arc::default(), timed: Arc::default(), ..self }
    }

    /// The same pruner that goes by what it costs to remove 0, 1, 2, … channels of each group.
    pub(super) fn with_curves(self, curves: Vec<Vec<f64>>) -> Self {
        Self { curves: Some(curves), timed: Arc::default(), ..self }
    }

    /// The model that is pruned.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The options.
    pub fn options(&self) -> &PruneOptions {
        &self.options
    }

    /// The groups and their coupled channels.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Whether an ignored layer keeps a group whole.
    pub(super) fn keeps_whole(&self, group: GroupId) -> bool {
        self.ignored[group]
    }

    /// Measures what the criterion needs of the images, unless that was done before. Scores and plans do it by themselves;
    /// this is for a listener to follow it and to stop it.
    ///
    /// # Errors
    /// A criterion that needs images where none were given, images that cannot be read, or a listener that asks to stop.
    pub fn measure(&self, progress: &dyn Progress) -> Result<(), PruneError> {
        self.measured(progress).map(|_| ())
    }

    fn measured(&self, progress: &dyn Progress) -> Result<&Measured, PruneError> {
        if let Some(known) = self.known.measured.get() {
            return Ok(known);
        }
        let needs = self.criterion.needs(&self.model, self.options.granularity);
        let importance = self.criterion.about().name;
        let found = match (&self.data, needs.data()) {
            (_, Data::None) => Measured::default(),
            (Some(data), Data::Images | Data::Labels) => {
                let asked = (importance, &needs);
                measure(&self.model, &self.groups, asked, data, self.options.seed, progress)?
            }
            (None, needed) => return Err(PruneError::NeedsData { importance, needed: needed.name() }),
        };
        Ok(self.known.measured.get_or_init(|| found))
    }

    /// What the criterion may look at, measured if that was not done before.
    fn context(&self) -> Result<Context<'_>, PruneError> {
        let PruneOptions { granularity, size, seed, .. } = self.options;
        let (threshold, measured) = (self.options.zero_threshold(), self.measured(&Silent)?);
        Ok(Context { model: &self.model, groups: &self.groups, granularity, threshold, size, seed, measured })
    }

    /// Every group's scores.
    fn score(&self) -> Result<&Scores, PruneError> {
        if let Some(known) = self.known.scores.get() {
            return Ok(known);
        }
        let granularity = self.options.granularity;
        if !granularity.removes_channels() {
            let allowed = Granularity::REMOVED.iter().map(|granularity| granularity.name()).collect::<Vec<_>>();
            return Err(PruneError::NotYet { granularity, what: "scores of channels", allowed: allowed.join(", ") });
        }
        let found = score(&self.context()?, &*self.criterion, self.options.reduce)?;
        Ok(self.known.scores.get_or_init(|| found))
    }

    /// The score of every number of the weight of every convolution, for granularities of masks; low goes first.
    ///
    /// # Errors
    /// Where the granularity is none of masks or the criterion does not judge weights, or as [`Pruner::measure`].
    pub fn weight_scores(&self) -> Result<Vec<WeightScores>, PruneError> {
        weight_scores(&self.context()?, &*self.criterion)
    }

    /// Every residual branch's score, in graph order, for the granularity that removes them.
    ///
    /// # Errors
    /// Where the criterion does not judge branches, or as [`Pruner::measure`].
    pub fn branch_scores(&self) -> Result<Vec<BranchScore>, PruneError> {
        let (graph, size) = (self.model.graph(), [self.options.size; 2]);
        let whole = graph.total_cost(size)?;
        let (scores, kept) = (branch_scores(&self.context()?, &*self.criterion)?, kept(&self.options, graph)?);
        let row = |((branch, score), ignored): ((Branch, f64), bool)| {
            let without = Rewrite::of(graph, &[branch.name.clone()].into())?.graph.total_cost(size)?;
            let (params, macs) = (whole.params - without.params, whole.macs - without.macs);
            Ok(BranchScore { branch: branch.name, score, ignored, params, macs })
        };
        branches(graph).into_iter().zip(scores).zip(kept).map(row).collect()
    }

    /// Every prunable coupled channel's score, by group and channel.
    ///
    /// # Errors
    /// Where the criterion does not apply to a group, or as [`Pruner::measure`].
    pub fn scores(&self) -> Result<Vec<ScoreRow>, PruneError> {
        let scores = self.score()?;
        let costs = self.costs()?.of_one(&self.groups);
        let ranking = ranking(scores, self.comparison, &costs);
        let mut rows = Vec::new();
        for (id, group) in self.groups.all().iter().enumerate() {
            let mut ranks = vec![0.0; group.coupled.len()];
            ranking[id].iter().for_each(|&(rank, place)| ranks[place] = rank);
            rows.extend(ranks.into_iter().enumerate().map(|(place, rank)| ScoreRow {
                group: group.name.clone(),
                layer: self.model.graph().node(group.layer).name.clone(),
                channel: group.channels[place],
                score: scores[id][place],
                rank,
                ignored: self.ignored[id],
                params: costs[id].params,
                macs: costs[id].macs,
            }));
        }
        Ok(rows)
    }

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

    fn costs(&self) -> Result<CostModel, PruneError> {
        Ok(CostModel::new(self.model.graph(), &self.groups, self.options.size)?)
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

    /// How many coupled channels every group keeps, if the lowest go first.
    ///
    /// # Errors
    /// As [`Pruner::plan_with`].
    pub(super) fn counts(&self, progress: &dyn Progress) -> Result<Vec<usize>, PruneError> {
        let lowest = PruneOptions { order: Order::Lowest, ..self.options.clone() };
        let plan = Self { options: lowest, ..self.clone() }.plan_with(progress)?;
        let kept = |group: &Group| {
            let gone = plan.layers.get(&self.model.graph().node(group.layer).name);
            let stays = |channel: &&usize| gone.is_none_or(|layer| !layer.remove.contains(channel));
            group.channels.iter().filter(stays).count()
        };
        Ok(self.groups.all().iter().map(kept).collect())
    }

    /// The pruner of `model`, a stage on the way from this pruner's model to what it asks for. Limits and amounts are still
    /// those of this pruner's model.
    ///
    /// # Errors
    /// A model that was not pruned from this one's.
    pub(super) fn at(&self, model: &Model, stage: &Stage, progress: &dyn Progress) -> Result<Self, PruneError> {
        let masks = self.options.granularity.masks();
        let amount = match (stage, self.options.amount) {
            // What a pattern or a threshold says of masks is not done in parts.
            (_, Amount::Macs(_) | Amount::Params(_) | Amount::Latency(_) | Amount::Ratios) if masks => {
                self.options.amount
            }
            (Stage::Amount { amount, .. }, _) => *amount,
            (Stage::Counts(_), _) => Amount::Ratios,
        };
        let order = if self.options.order == Order::Layers { Order::Lowest } else { self.options.order };
        let options = PruneOptions { amount, order, ..self.options.clone() };
        let mut at = Self::judged(model, options, self.criterion.clone())?;
        at.data.clone_from(&self.data);
        if masks {
            return Ok(at);
        }
        if self.options.granularity == Granularity::Depth {
            at.options.amount = self.left_of(model, amount)?;
            return Ok(at);
        }
        let mut curves = Vec::new();
        for (group, limits) in at.groups.all().iter().zip(&mut at.limits) {
            let before = self.groups.all().iter().position(|before| before.occurs == group.occurs);
            let Some(before) = before else {
                let reason = "its channels are tied to others than in the model that was pruned first".to_owned();
                return Err(PruneError::NotPrunedFrom { layer: group.name.clone(), reason });
            };
            let now = group.coupled.len();
            // Of a group that has lost channels, what follows costs what it would have cost there.
            curves.extend(self.curves.as_ref().map(|curves| curves[before][curves[before].len() - now - 1..].to_vec()));
            *limits = match stage {
                Stage::Amount { gone, .. } => self.limits[before].later(now, *gone),
                Stage::Counts(counts) => Limits::exactly(counts[before], now),
            };
        }
        at.curves = self.curves.is_some().then_some(curves);
        let costs = self.costs()?;
        let clock = match amount {
            Amount::Latency(_) => Some(Clock::new(&self.model, &self.groups, &costs, self.options.size, progress)?),
            Amount::Macs(_) | Amount::Params(_) | Amount::Ratio(_) | Amount::Ratios => None,
        };
        let target = Target::of(amount, &costs, clock.as_ref(), &self.groups, &self.ignored)?;
        at.whole = target.map(|target| (self.model.clone(), target.whole()));
        Ok(at)
    }

    /// What an amount of this pruner's model is of one that has lost branches since.
    fn left_of(&self, model: &Model, amount: Amount) -> Result<Amount, PruneError> {
        let costs = [model, &self.model].map(|model| model.cost(self.options.size));
        let [now, whole] = costs.map(|cost| cost.map(|cost| [cost.macs as f64, cost.params as f64]));
        let (now, whole) = (now?, whole?);
        let share = |at: usize, share: f64| (share * whole[at] / now[at].max(1.0)).min(1.0);
        let open = |model: &Model| -> Result<f64, PruneError> {
            Ok(kept(&self.options, model.graph())?.iter().filter(|kept| !**kept).count() as f64)
        };
        Ok(match amount {
            Amount::Macs(stays) => Amount::Macs(share(0, stays)),
            Amount::Params(stays) => Amount::Params(share(1, stays)),
            Amount::Ratio(goes) => {
                let (left, all) = (open(model)?, open(&self.model)?);
                Amount::Ratio(((goes * all - (all - left)) / left.max(1.0)).max(0.0))
            }
            Amount::Latency(_) | Amount::Ratios => amount,
        })
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

    /// What the scores of single weights are like, layer by layer, for granularities of masks.
    ///
    /// # Errors
    /// As [`Pruner::weight_scores`].
    pub fn mask_scores(&self) -> Result<Vec<MaskScoreRow>, PruneError> {
        let rule = Rule::of(&self.options, self.model.graph())?;
        Ok(masks::score_rows(&self.model, &self.weight_scores()?, &rule))
    }

    /// Plans and applies: a new model, physically smaller or with masks.
    ///
    /// # Errors
    /// As [`Pruner::plan`] and [`apply`].
    pub fn prune(&self) -> Result<Model, PruneError> {
        apply(&self.model, &self.plan()?)
    }
}

impl Deref for Judge {
    type Target = dyn Criterion;

    fn deref(&self) -> &(dyn Criterion + 'static) {
        match self {
            Judge::Listed(criterion) => *criterion,
            Judge::Own(criterion) => &**criterion,
        }
    }
}
