//! From a criterion to scores.

use super::{
    super::{depth::branches, error::PruneError, groups::Group, layers::no_such_layer},
    context::{Context, WeightScores},
    criterion::Criterion,
    reduce::{Reduce, reduce},
};

/// A score for every coupled channel, by group and index there.
pub type Scores = Vec<Vec<f64>>;

/// Scores every group's coupled channels; the units of each are joined as the criterion does it, or as `how` says.
///
/// # Errors
/// Where a group has nothing that the criterion could look at, a score is not finite, or a tensor cannot be read.
pub fn score(context: &Context, criterion: &dyn Criterion, how: Option<Reduce>) -> Result<Scores, PruneError> {
    score_groups(context, criterion, how)?.into_iter().collect()
}

/// The same, group by group, each with its own error.
pub(super) fn score_groups(
    context: &Context,
    criterion: &dyn Criterion,
    how: Option<Reduce>,
) -> Result<Vec<Result<Vec<f64>, PruneError>>, PruneError> {
    let how = how.unwrap_or_else(|| criterion.reduce(context.granularity));
    let joined = reduce(context.groups, &criterion.units(context)?, how);
    let importance = criterion.about().name;
    let units = criterion.about().form(context.granularity).map_or("units", |form| form.units);
    let finish = |score| criterion.finish(context.granularity, score);
    let group = |group: &Group| {
        let layer = || context.model.graph().node(group.layer).name.clone();
        let finished = |&channel: &usize| match joined[channel].map(finish) {
            Some(score) if score.is_finite() => Ok(score),
            Some(_) => Err(PruneError::NotFinite { layer: layer(), importance }),
            None => Err(PruneError::NoUnits { layer: layer(), importance, units }),
        };
        group.coupled.iter().map(finished).collect()
    };
    Ok(context.groups.all().iter().map(group).collect())
}

/// What every channel of one layer's output scores by the units of that layer alone, such as the L1 of each filter of a
/// convolution: not joined with what is coupled to it.
///
/// # Errors
/// Where there is no such layer, or the criterion has no units there.
pub fn channel_scores(context: &Context, layer: &str, criterion: &dyn Criterion) -> Result<Vec<f64>, PruneError> {
    let graph = context.model.graph();
    let id = graph.find(layer).ok_or_else(|| no_such_layer(graph, layer))?;
    let parts = criterion.units(context)?;
    let part = parts.into_iter().find(|part| part.value == Some(id)).ok_or_else(|| PruneError::NotScored {
        layer: layer.to_owned(),
        kind: graph.node(id).op.kind(),
        importance: criterion.about().name,
    })?;
    Ok(part.scores.into_iter().map(|score| criterion.finish(context.granularity, score)).collect())
}

/// Scores every number of the weight of every convolution, for granularities of masks; low goes first.
///
/// # Errors
/// A criterion that does not judge single weights, a score that is not finite, or a tensor that cannot be read.
pub fn weight_scores(context: &Context, criterion: &dyn Criterion) -> Result<Vec<WeightScores>, PruneError> {
    let scores = criterion.weights(context)?;
    match scores.iter().find(|scores| scores.scores.iter().any(|score| !score.is_finite())) {
        Some(WeightScores { node, .. }) => Err(PruneError::NotFinite {
            layer: context.model.graph().node(*node).name.clone(),
            importance: criterion.about().name,
        }),
        None => Ok(scores),
    }
}

/// Scores every residual branch, in the order of [`branches`]; low goes first.
///
/// # Errors
/// A criterion that does not judge branches, a score that is not finite, or a tensor that cannot be read.
pub fn branch_scores(context: &Context, criterion: &dyn Criterion) -> Result<Vec<f64>, PruneError> {
    let scores = criterion.branches(context)?;
    match branches(context.model.graph()).into_iter().zip(&scores).find(|(_, score)| !score.is_finite()) {
        Some((branch, _)) => Err(PruneError::NotFinite { layer: branch.name, importance: criterion.about().name }),
        None => Ok(scores),
    }
}
