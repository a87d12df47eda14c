//! Joining the units of each coupled channel.

use super::{
    super::groups::{ChannelId, Groups},
    context::Part,
};
use crate::options::option_names;

/// How the scores of the units of a coupled channel are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduce {
    /// Their sum: every unit adds to what would be lost.
    Sum,
    /// Their mean: each unit tells the same of the channel.
    Mean,
    /// The one of the largest magnitude: a channel is as important as its most important unit.
    Max,
    /// That of the first unit: the layer that the group is named by, where it has one.
    First,
}
option_names!(Reduce, "reduce": Sum = "sum", Mean = "mean", Max = "max", First = "first");

/// For every coupled channel, the joined score of its units, or `None` where it has none.
pub(super) fn reduce(groups: &Groups, parts: &[Part], how: Reduce) -> Vec<Option<f64>> {
    let mut joined: Vec<Option<(f64, usize)>> = vec![None; groups.count()];
    let units = parts.iter().flat_map(|part| part.channels.iter().zip(&part.scores));
    units.for_each(|(&channel, &score): (&ChannelId, _)| {
        let (before, count) = joined[channel].unwrap_or((0.0, 0));
        let together = match how {
            _ if count == 0 => score,
            Reduce::Sum | Reduce::Mean => before + score,
            // What is no number must stay one that is no number.
            Reduce::Max if score.abs() > before.abs() || score.is_nan() => score,
            Reduce::Max | Reduce::First => before,
        };
        joined[channel] = Some((together, count + 1));
    });
    let finished = |(score, count): (f64, usize)| match how {
        Reduce::Mean => score / count as f64,
        Reduce::Sum | Reduce::Max | Reduce::First => score,
    };
    joined.into_iter().map(|joined| joined.map(finished)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Conv, Graph, Op};

    #[test]
    fn units_are_joined_as_asked() {
        let mut graph = Graph::new();
        let images = graph.add("images", Op::Input { channels: 1 }, &[]);
        let wide = graph.add("wide", Op::Conv(Conv::same(1, 2, 1, 1)), &[images]);
        let out = graph.add("out", Op::Conv(Conv::same(2, 1, 1, 1)), &[wide]);
        graph.set_outputs(vec![out]);
        let groups = Groups::of(&graph).unwrap();
        let channels = groups.all()[0].coupled.clone();
        let part = |scores: [f64; 2]| Part { value: None, channels: channels.clone(), scores: scores.to_vec() };
        let parts = [part([1.0, f64::NAN]), part([-4.0, 2.0]), part([2.0, 3.0])];
        for (how, expected) in
            [(Reduce::Sum, -1.0), (Reduce::Mean, -1.0 / 3.0), (Reduce::Max, -4.0), (Reduce::First, 1.0)]
        {
            let joined = reduce(&groups, &parts, how);
            assert_eq!(joined[channels[0]], Some(expected), "{how}");
            assert!(joined[channels[1]].is_some_and(f64::is_nan), "{how}");
            assert_eq!(joined.iter().flatten().count(), channels.len(), "nothing scores images and outputs");
        }
    }
}
