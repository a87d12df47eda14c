//! Making groups comparable: the order in which coupled channels go.

use super::criteria::Scores;
use crate::{graph::Cost, options::option_names};

/// Which coupled channels compete with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every group loses the same share of its channels.
    #[default]
    Local,
    /// All groups compete by score, made comparable as [`Normalize`] says.
    Global,
}
option_names!(Scope, "scope": Local = "local", Global = "global");

/// How scores of different groups are made comparable, where all compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalize {
    /// Each is divided by its group's mean magnitude.
    #[default]
    Mean,
    /// Each is divided by its group's largest magnitude.
    Max,
    /// Each becomes its place in its group's order, as a share.
    Rank,
    /// They are left as they are.
    None,
}
option_names!(Normalize, "normalize": Mean = "mean", Max = "max", Rank = "rank", None = "none");

/// What scores are divided by, where all groups compete: channels that cost more go before others as important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// Nothing.
    #[default]
    None,
    /// The MACs that go with the channel.
    Macs,
    /// The parameters that go with the channel.
    Params,
}
option_names!(Per, "per": None = "none", Macs = "macs", Params = "params");

/// In which order units go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Those of the lowest score first.
    #[default]
    Lowest,
    /// Those of the highest score first: the control that a criterion must beat.
    Highest,
    /// Layer by layer from the image on, each scored anew once those before it are done: gradual pruning alone does so.
    Layers,
}
option_names!(Order, "order": Lowest = "lowest", Highest = "highest", Layers = "layers");

/// How coupled channels of all groups are put in one order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Comparison {
    pub(super) scope: Scope,
    pub(super) normalize: Normalize,
    pub(super) per: Per,
}

/// The keys by which coupled channels are ordered for removal, each with its index in the group, lowest first: within a
/// group in the order of their scores. Locally the place in that order as a share, globally the score, made comparable.
/// `costs` has what goes with one channel of each group.
pub(super) fn ranking(scores: &Scores, how: Comparison, costs: &[Cost]) -> Vec<Vec<(f64, usize)>> {
    let rank = |(group, cost): (&Vec<f64>, &Cost)| {
        let mut order: Vec<usize> = (0..group.len()).collect();
        order.sort_by(|&a, &b| group[a].total_cmp(&group[b]).then(a.cmp(&b)));
        let magnitudes = || group.iter().map(|score| score.abs());
        let divisor = match how.normalize {
            Normalize::Mean => magnitudes().sum::<f64>() / group.len() as f64,
            Normalize::Max => magnitudes().fold(0.0, f64::max),
            Normalize::Rank | Normalize::None => 1.0,
        };
        let price = match how.per {
            Per::None => 1.0,
            Per::Macs => cost.macs.max(1) as f64,
            Per::Params => cost.params.max(1) as f64,
        };
        let key = |(place, channel): (usize, usize)| {
            let share = (place as f64 + 0.5) / group.len() as f64;
            let key = match (how.scope, how.normalize) {
                (Scope::Local, _) => share,
                (Scope::Global, Normalize::Rank) => share / price,
                // A group without any scores: nothing tells its channels from useless ones.
                (Scope::Global, _) if divisor == 0.0 => 0.0,
                (Scope::Global, Normalize::Mean | Normalize::Max | Normalize::None) => group[channel] / divisor / price,
            };
            (key, channel)
        };
        order.into_iter().enumerate().map(key).collect()
    };
    scores.iter().zip(costs).map(rank).collect()
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
    fn groups_are_made_comparable_as_asked() {
        let scores = vec![vec![1.0, 3.0], vec![30.0, 10.0, 20.0]];
        let costs = [Cost { params: 10, macs: 100 }, Cost { params: 20, macs: 50 }];
        let keys = |scope, normalize, per| {
            let ranked = ranking(&scores, Comparison { scope, normalize, per }, &costs);
            assert_eq!(ranked[1].iter().map(|&(_, channel)| channel).collect::<Vec<_>>(), [1, 2, 0]);
            ranked.concat().into_iter().map(|(key, _)| (key * 1e6).round() / 1e6).collect::<Vec<_>>()
        };
        let places = [0.25, 0.75, 0.166667, 0.5, 0.833333];
        assert_eq!(keys(Scope::Local, Normalize::Mean, Per::None), places);
        assert_eq!(keys(Scope::Global, Normalize::Mean, Per::None), [0.5, 1.5, 0.5, 1.0, 1.5]);
        assert_eq!(keys(Scope::Global, Normalize::Max, Per::None), [0.333333, 1.0, 0.333333, 0.666667, 1.0]);
        assert_eq!(keys(Scope::Global, Normalize::Rank, Per::None), places);
        assert_eq!(keys(Scope::Global, Normalize::None, Per::None), [1.0, 3.0, 10.0, 20.0, 30.0]);
        assert_eq!(keys(Scope::Global, Normalize::Mean, Per::Macs), [0.005, 0.015, 0.01, 0.02, 0.03]);
        assert_eq!(keys(Scope::Global, Normalize::None, Per::Params), [0.1, 0.3, 0.5, 1.0, 1.5]);
    }

    #[test]
    fn a_group_without_scores_goes_first() {
        let how = Comparison { scope: Scope::Global, ..Comparison::default() };
        let ranked = ranking(&vec![vec![0.0, 0.0]], how, &[Cost { params: 1, macs: 1 }]);
        assert_eq!(ranked, [[(0.0, 0), (0.0, 1)]]);
    }

    #[test]
    fn costs_for_each_saving_decide_between_groups() {
        assert_eq!(rising([1.0, 3.0, 2.0, 0.0, 9.0].into_iter()), [1.0, 5.0 / 3.0, 5.0 / 3.0, 5.0 / 3.0, 9.0]);
        let ranking = vec![vec![(0.1, 1), (0.2, 0)], vec![(0.1, 0), (0.3, 1)]];
        let found = by_cost(ranking, &[vec![0.0, 2.0, 6.0], vec![0.0, 3.0, 4.0]], &[1.0, 4.0]);
        assert_eq!(found, [vec![(2.0, 1), (4.0, 0)], vec![(0.5, 0), (0.5, 1)]]);
    }
}
