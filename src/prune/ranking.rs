//! Making groups comparable: the order in which coupled channels go.

use super::{criteria::Scores, options::Scope};

/// The keys by which coupled channels are ordered for removal, each with its index in the group, lowest first: within a
/// group in the order of their scores. Locally the place in that order as a share, globally the score divided by the
/// group's mean.
pub(super) fn ranking(scores: &Scores, scope: Scope) -> Vec<Vec<(f64, usize)>> {
    let rank = |group: &Vec<f64>| {
        let mut order: Vec<usize> = (0..group.len()).collect();
        order.sort_by(|&a, &b| group[a].total_cmp(&group[b]).then(a.cmp(&b)));
        let mean = group.iter().sum::<f64>() / group.len() as f64;
        let key = |(place, channel): (usize, usize)| match scope {
            Scope::Local => ((place as f64 + 0.5) / group.len() as f64, channel),
            Scope::Global if mean > 0.0 => (group[channel] / mean, channel),
            Scope::Global => (0.0, channel),
        };
        order.into_iter().enumerate().map(key).collect()
    };
    scores.iter().map(rank).collect()
}
