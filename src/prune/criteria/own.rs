//! A criterion made of a function of others' scores.

use std::collections::BTreeMap;

use super::{
    super::{cost::CostModel, error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    list::CRITERIA,
    needs::{Data, Needs},
    score::score_groups,
};
use crate::model::Model;

/// A group, as a function sees it that scores its channels.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupScores {
    /// Its name.
    pub name: String,
    /// How many coupled channels it has.
    pub size: usize,
    /// MACs that go with one of them.
    pub macs: u64,
    /// Parameters that go with one of them.
    pub params: u64,
    /// The scores of its channels by every criterion that judges here and needs no more than there is, by the criterion's
    /// name. One that cannot score this group is absent, such as `bn_scale` where there is no normalisation.
    pub scores: BTreeMap<&'static str, Vec<f64>>,
}

/// A criterion that a function makes of those of the list. The function is called once a group and gives a score for each of
/// its coupled channels, or says why it cannot.
///
/// ```
/// use espalier::prune::{OwnCriterion, PruneOptions, Pruner};
///
/// let model = espalier::io::teacher()?;
/// let product = OwnCriterion::new(|group| {
///     let [norms, scales] = ["l2", "bn_scale"].map(|name| &group.scores[name]);
///     Ok(norms.iter().zip(scales).map(|(norm, scale)| norm * scale).collect())
/// });
/// let plan = Pruner::with_criterion(&model, PruneOptions::default(), product)?.plan()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OwnCriterion<F> {
    data: Data,
    function: F,
}

impl<F> OwnCriterion<F>
where
    F: Fn(&GroupScores) -> Result<Vec<f64>, String> + Send + Sync,
{
    /// Of a function that uses criteria without data.
    pub fn new(function: F) -> Self {
        Self { data: Data::None, function }
    }

    /// The same function, given the criteria that need this of a dataset too.
    pub fn needing(self, data: Data) -> Self {
        Self { data, ..self }
    }

    fn used(&self, granularity: Granularity) -> impl Iterator<Item = &'static dyn Criterion> {
        let most = self.data;
        let fits =
            move |criterion: &&dyn Criterion| criterion.about().form(granularity).is_some_and(|form| form.data <= most);
        CRITERIA.iter().copied().filter(fits)
    }
}

impl<F> Criterion for OwnCriterion<F>
where
    F: Fn(&GroupScores) -> Result<Vec<f64>, String> + Send + Sync,
{
    fn about(&self) -> About {
        const fn forms(data: Data) -> [Form; 1] {
            [Form { granularities: Granularity::REMOVED, units: "channels", data, formula: "what a function gives" }]
        }
        const NONE: &[Form] = &forms(Data::None);
        const IMAGES: &[Form] = &forms(Data::Images);
        const LABELS: &[Form] = &forms(Data::Labels);
        let forms = match self.data {
            Data::None => NONE,
            Data::Images => IMAGES,
            Data::Labels => LABELS,
        };
        About { name: "function", aliases: &[], strategy: Strategy::Importance, forms, paper: "the user's own" }
    }

    fn needs(&self, model: &Model, granularity: Granularity) -> Needs {
        let needs = self.used(granularity).map(|criterion| criterion.needs(model, granularity));
        needs.fold(Needs::default(), Needs::and)
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let costs = CostModel::new(context.model.graph(), context.groups, context.size)?.of_one(context.groups);
        let mut known = Vec::new();
        for criterion in self.used(context.granularity) {
            known.push((criterion.about().name, each_group(context, criterion)?));
        }
        let mut parts = Vec::new();
        for (id, group) in context.groups.all().iter().enumerate() {
            let scores = known.iter().filter_map(|(name, groups)| Some((*name, groups[id].clone()?))).collect();
            let (macs, params) = (costs[id].macs, costs[id].params);
            let view = GroupScores { name: group.name.clone(), size: group.coupled.len(), macs, params, scores };
            let failed = |reason| PruneError::Own { group: group.name.clone(), reason };
            let scores = (self.function)(&view).map_err(failed)?;
            if scores.len() != group.coupled.len() {
                let (found, expected) = (scores.len(), group.coupled.len());
                return Err(failed(format!("it gave {found} scores for {expected} channels; give one for each")));
            }
            if let Some(place) = scores.iter().position(|score| !score.is_finite()) {
                let score = scores[place];
                return Err(failed(format!("its score of channel {place} is {score}; give finite numbers")));
            }
            parts.push(Part { value: None, channels: group.coupled.clone(), scores });
        }
        Ok(parts)
    }
}

/// The scores of every group, or none of one where the criterion has nothing to look at.
fn each_group(context: &Context, criterion: &dyn Criterion) -> Result<Vec<Option<Vec<f64>>>, PruneError> {
    let known = |scores: Result<Vec<f64>, PruneError>| match scores {
        Ok(scores) => Ok(Some(scores)),
        Err(PruneError::NoUnits { .. }) => Ok(None),
        Err(other) => Err(other),
    };
    score_groups(context, criterion, None)?.into_iter().map(known).collect()
}
