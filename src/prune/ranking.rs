//! Making groups comparable: the order in which coupled channels go.

use super::{
    criteria::Scores,
    options::{Order, Scope},
};

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

/// The same ranking in an order: turned round where the highest go first. Layer by layer it is within each that the lowest
/// go first.
pub(super) fn in_order(mut ranking: Vec<Vec<(f64, usize)>>, order: Order) -> Vec<Vec<(f64, usize)>> {
    match order {
        Order::Lowest | Order::Layers => {}
        Order::Highest => {
            for keys in &mut ranking {
                keys.reverse();
                keys.iter_mut().for_each(|(key, _)| *key = -*key);
            }
        }
    }
    ranking
}

/// The same orders within the groups with keys that are costs: what the next channel of a group costs, divided by what a
/// channel of the group saves. `curves` hold what it costs to remove 0, 1, 2, … of a group's channels. Where they bend
/// downwards they are taken as straight, so that it pays to go on once begun.
pub(super) fn by_cost(
    mut ranking: Vec<Vec<(f64, usize)>>,
    curves: &[Vec<f64>],
    saved: &[f64],
) -> Vec<Vec<(f64, usize)>> {
    for ((keys, curve), &saved) in ranking.iter_mut().zip(curves).zip(saved) {
        let steps = curve.windows(2).map(|pair| pair[1] - pair[0]);
        for ((key, _), cost) in keys.iter_mut().zip(rising(steps)) {
            *key = cost / saved.max(f64::MIN_POSITIVE);
        }
    }
    ranking
}

/// The rising numbers nearest to those given: neighbours that fall are averaged (Ayer et al. 1955, pool adjacent violators).
fn rising(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for number in numbers {
        let mut block = (number, 1);
        while let Some(&(mean, count)) = blocks.last().filter(|(mean, _)| *mean >= block.0) {
            let total = count + block.1;
            block = ((mean * count as f64 + block.0 * block.1 as f64) / total as f64, total);
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_for_each_saving_decide_between_groups() {
        assert_eq!(rising([1.0, 3.0, 2.0, 0.0, 9.0].into_iter()), [1.0, 5.0 / 3.0, 5.0 / 3.0, 5.0 / 3.0, 9.0]);
        let ranking = vec![vec![(0.1, 1), (0.2, 0)], vec![(0.1, 0), (0.3, 1)]];
        let found = by_cost(ranking, &[vec![0.0, 2.0, 6.0], vec![0.0, 3.0, 4.0]], &[1.0, 4.0]);
        assert_eq!(found, [vec![(2.0, 1), (4.0, 0)], vec![(0.5, 0), (0.5, 1)]]);
    }
}
