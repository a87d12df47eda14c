//! Which residual branches go for an amount.

use std::collections::BTreeSet;

use super::{
    depth::{Branch, Rewrite, branches},
    error::PruneError,
    layers::Pattern,
    options::{Amount, PruneOptions},
    ranking::Order,
};
use crate::{
    graph::{Cost, Graph, Role},
    options::OptionError,
};

/// A gap to the target, as a share of the whole, that is an error.
const TOO_FAR: f64 = 0.1;

/// For each branch, whether a pattern of `ignore` keeps it.
///
/// # Errors
/// A pattern that cannot be read, or that fits no layer.
pub(super) fn kept(options: &PruneOptions, graph: &Graph) -> Result<Vec<bool>, PruneError> {
    let patterns = options.ignore.iter().map(|text| Pattern::of(text, graph)).collect::<Result<Vec<_>, _>>()?;
    let covered = |branch: &Branch| {
        let layers = branch.nodes.iter().map(|&id| graph.node(id)).filter(|node| node.op.owns(Role::Weight));
        layers.into_iter().any(|node| patterns.iter().any(|pattern| pattern.covers(&node.name)))
    };
    Ok(branches(graph).iter().map(covered).collect())
}

/// The names of the branches that go, those of the lowest scores first; `scores` has one for each of [`branches`].
///
/// # Errors
/// A network without branches, or a share of MACs or parameters that no number of them comes near.
pub(super) fn choose(graph: &Graph, scores: &[f64], options: &PruneOptions) -> Result<BTreeSet<String>, PruneError> {
    let (all, ignored) = (branches(graph), kept(options, graph)?);
    let mut order: Vec<usize> = (0..all.len()).filter(|&at| !ignored[at]).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    if options.order == Order::Highest {
        order.reverse();
    }
    if order.is_empty() {
        return Err(PruneError::NoBranches { ignored: all.len() });
    }
    let first = |count: usize| order[..count].iter().map(|&at| all[at].name.clone()).collect::<BTreeSet<String>>();
    let share_of = |of: fn(Cost) -> u64| -> Result<Vec<f64>, PruneError> {
        let cost = |count: usize| -> Result<f64, PruneError> {
            Ok(of(Rewrite::of(graph, &first(count))?.graph.total_cost([options.size; 2])?) as f64)
        };
        let whole = cost(0)?.max(1.0);
        (0..=order.len()).map(|count| Ok(cost(count)? / whole)).collect()
    };
    let (what, asked, shares) = match options.amount {
        Amount::Ratio(ratio) => return Ok(first((order.len() as f64 * ratio).round() as usize)),
        Amount::Macs(asked) => ("MACs", asked, share_of(|cost| cost.macs)?),
        Amount::Params(asked) => ("parameters", asked, share_of(|cost| cost.params)?),
        Amount::Latency(_) | Amount::Ratios => {
            let expected = "nothing of granularity \"depth\", which takes macs, params or ratio";
            return Err(OptionError::value(options.amount.key(), expected, options.amount).into());
        }
    };
    let gap = |count: &usize| (shares[*count] - asked).abs();
    let best = (0..shares.len()).min_by(|a, b| gap(a).total_cmp(&gap(b))).unwrap_or(0);
    if gap(&best) > TOO_FAR {
        let [asked, nearest] = [asked, shares[best]].map(|share| 100.0 * share);
        return Err(PruneError::TooFewBranches { what, asked, nearest, branches: order.len() });
    }
    Ok(first(best))
}
