//! One model and one set of options: scores, plan, pruned model.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::{
    cost::CostModel,
    criteria::{
        Context, Criterion, Data, Measured, PruneData, Scores, WeightScores, branch_scores, criterion_for, judges,
        measure, score, weight_scores,
    },
    depth::{Branch, Rewrite, branches},
    depth_choice::kept,
    error::PruneError,
    granularity::Granularity,
    groups::{GroupId, Groups},
    masks::{self, MaskScoreRow, Rule},
    options::PruneOptions,
    plan::Plan,
    ranking::{Comparison, ranking},
    select::Limits,
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
    pub(super) model: Model,
    pub(super) options: PruneOptions,
    pub(super) groups: Groups,
    pub(super) ignored: Vec<bool>,
    pub(super) limits: Vec<Limits>,
    /// What amounts are shares of, where that is not the model as it is: of which, and how much of it there is.
    pub(super) whole: Option<(Model, f64)>,
    /// What it costs to remove 0, 1, 2, … channels of each group, where a scan said so.
    pub(super) curves: Option<Vec<Vec<f64>>>,
    pub(super) comparison: Comparison,
    pub(super) criterion: Judge,
    pub(super) data: Option<PruneData>,
    pub(super) known: Arc<Known>,
    /// The plan, where it was timed.
    pub(super) timed: Arc<OnceLock<Plan>>,
}

/// A criterion of the list, or the user's own.
#[derive(Clone, Debug)]
pub(super) enum Judge {
    Listed(&'static dyn Criterion),
    Own(Arc<dyn Criterion>),
}

/// What was found out before.
#[derive(Debug, Default)]
pub(super) struct Known {
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

    pub(super) fn judged(model: &Model, options: PruneOptions, criterion: Judge) -> Result<Self, PruneError> {
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
    pub(super) fn context(&self) -> Result<Context<'_>, PruneError> {
        let PruneOptions { granularity, size, seed, .. } = self.options;
        let (threshold, measured) = (self.options.zero_threshold(), self.measured(&Silent)?);
        Ok(Context { model: &self.model, groups: &self.groups, granularity, threshold, size, seed, measured })
    }

    /// Every group's scores.
    pub(super) fn score(&self) -> Result<&Scores, PruneError> {
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

    /// What the network costs by how many channels its groups keep.
    pub(super) fn costs(&self) -> Result<CostModel, PruneError> {
        Ok(CostModel::new(self.model.graph(), &self.groups, self.options.size)?)
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

    /// What the scores of single weights are like, layer by layer, for granularities of masks.
    ///
    /// # Errors
    /// As [`Pruner::weight_scores`].
    pub fn mask_scores(&self) -> Result<Vec<MaskScoreRow>, PruneError> {
        let rule = Rule::of(&self.options, self.model.graph())?;
        Ok(masks::score_rows(&self.model, &self.weight_scores()?, &rule))
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
