//! What is left out, cell by cell.

use super::{
    super::{
        error::PruneError,
        groups::{Group, GroupId},
        layers::Pattern,
        pruner::Pruner,
    },
    options::{ScanOptions, ScanUnit},
};

/// A group, and for each of its cells the places of the coupled channels that are left out, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The group.
    pub group: GroupId,
    /// Places in [`Group::coupled`].
    pub cells: Vec<Vec<usize>>,
}

/// What a scan measures, in graph order. Groups that the pruner ignores are left out.
///
/// # Errors
/// A pattern that fits no layer, scores that cannot be had.
pub(super) fn targets(pruner: &Pruner, options: &ScanOptions) -> Result<Vec<Target>, PruneError> {
    let (graph, groups) = (pruner.model().graph(), pruner.groups());
    let patterns = options.layers.iter().map(|text| Pattern::of(text, graph)).collect::<Result<Vec<_>, _>>()?;
    let wanted = |group: &Group| {
        let covered = |pattern: &Pattern| group.producers.iter().any(|&layer| pattern.covers(&graph.node(layer).name));
        patterns.is_empty() || patterns.iter().any(covered)
    };
    let ignored = pruner.options().ignored(graph, groups)?;
    let chosen = groups.all().iter().enumerate().filter(|(id, group)| !ignored[*id] && wanted(group));
    let mut targets: Vec<Target> = match options.unit {
        ScanUnit::Channel => chosen.map(|(group, of)| Target { group, cells: singles(of.coupled.len()) }).collect(),
        ScanUnit::Group => {
            let orders = orders(pruner)?;
            chosen.map(|(group, _)| Target { group, cells: shares(&orders[group], &options.ratios) }).collect()
        }
    };
    targets.retain(|target| !target.cells.is_empty());
    Ok(targets)
}

/// Each coupled channel alone; none where it is the last of its group.
fn singles(count: usize) -> Vec<Vec<usize>> {
    if count > 1 { (0..count).map(|place| vec![place]).collect() } else { Vec::new() }
}

/// The first share of an order for each ratio, but for one channel that stays.
fn shares(order: &[usize], ratios: &[f64]) -> Vec<Vec<usize>> {
    let first = |ratio: &f64| {
        let count = ((order.len() as f64 * ratio).round() as usize).min(order.len() - 1);
        let mut gone = order[..count].to_vec();
        gone.sort_unstable();
        gone
    };
    ratios.iter().map(first).collect()
}

/// For every group the places of its coupled channels, lowest-scored first.
fn orders(pruner: &Pruner) -> Result<Vec<Vec<usize>>, PruneError> {
    let rows = pruner.scores()?;
    let mut rest = &rows[..];
    let order = |group: &Group| {
        let (own, others) = rest.split_at(group.coupled.len());
        rest = others;
        let mut order: Vec<usize> = (0..own.len()).collect();
        order.sort_by(|&a, &b| own[a].score.total_cmp(&own[b].score).then(a.cmp(&b)));
        order
    };
    Ok(pruner.groups().all().iter().map(order).collect())
}
