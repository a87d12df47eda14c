//! A model on the way to what a pruner asks for.

use super::{
    depth_choice::kept,
    error::PruneError,
    granularity::Granularity,
    groups::Group,
    latency::Clock,
    options::{Amount, PruneOptions},
    pruner::Pruner,
    ranking::Order,
    select::{Limits, Target},
};
use crate::{model::Model, progress::Progress};

/// How far a model is on the way to what a pruner asks for.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// An amount, and which share of all that goes is gone with it.
    Amount { amount: Amount, gone: f64 },
    /// How many coupled channels each group keeps.
    Counts(Vec<usize>),
}

impl Pruner {
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
}
