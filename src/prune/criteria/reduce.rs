//! Joining the units of each coupled channel.

use super::{
    super::groups::{ChannelId, Groups},
    context::Part,
};

/// How the scores of the units of a coupled channel are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduce {
    /// Their sum: every unit adds to what would be lost.
    Sum,
    /// Their mean: each unit tells the same of the channel.
    Mean,
}

/// For every coupled channel, the joined score of its units, or `None` where it has none.
pub(super) fn reduce(groups: &Groups, parts: &[Part], how: Reduce) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0usize); groups.count()];
    let units = parts.iter().flat_map(|part| part.channels.iter().zip(&part.scores));
    units.for_each(|(&channel, score): (&ChannelId, _)| {
        let (sum, count) = &mut sums[channel];
        *sum += score;
        *count += 1;
    });
    let joined = |(sum, count): (f64, usize)| match how {
        _ if count == 0 => None,
        Reduce::Sum => Some(sum),
        Reduce::Mean => Some(sum / count as f64),
    };
    sums.into_iter().map(joined).collect()
}
