//! What sparse training penalises, told by coupled channels.

use super::{
    error::PruneError,
    groups::{ChannelId, Groups},
    plan::Plan,
    removal::Removal,
};
use crate::{model::Model, train::RowSets};

/// All that would be held at zero for each coupled channel that could go: filters, biases, normalisation scales and shifts. For
/// [`Sparsity::GroupLasso`](crate::train::Sparsity::GroupLasso).
///
/// # Errors
/// Where the graph does not fit together.
pub fn coupled_rows(model: &Model) -> Result<RowSets, PruneError> {
    let groups = Groups::of(model.graph())?;
    Ok(rows(model, &groups, |channel| groups.group_of(channel).is_some()))
}

/// The same of the channels that a plan removes, for [`Sparsity::Growing`](crate::train::Sparsity::Growing).
///
/// # Errors
/// Where the plan does not fit the model, or removes no channel.
pub fn planned_rows(model: &Model, plan: &Plan) -> Result<RowSets, PruneError> {
    let groups = Groups::of(model.graph())?;
    let removal = Removal::of(plan, model.graph(), &groups).map_err(|error| plan.misfit(error))?;
    let found = rows(model, &groups, |channel| removal.removes(channel));
    if found.rows.is_empty() { Err(PruneError::NothingGoes) } else { Ok(found) }
}

fn rows(model: &Model, groups: &Groups, chosen: impl Fn(ChannelId) -> bool) -> RowSets {
    let trained = model.graph().parameters().filter(|(_, _, parameter)| parameter.role.is_trainable());
    let sets = trained.map(|(id, name, _)| {
        let set = |&channel: &ChannelId| chosen(channel).then_some(channel as u32);
        (name, groups.labels(id).iter().map(set).collect::<Vec<_>>())
    });
    RowSets { rows: sets.filter(|(_, sets)| sets.iter().any(Option::is_some)).collect() }
}
