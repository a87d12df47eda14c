//! Exact parameters and MACs of a graph as a function of how many coupled channels each group keeps.

use super::groups::{GroupId, Groups};
use crate::graph::{Cost, Graph, GraphError, NodeId, Op};

/// Counts costs without building the pruned graph.
#[derive(Clone, Debug)]
pub(super) struct CostModel {
    widths: Vec<Width>,
    terms: Vec<Term>,
}

/// Channels of a value: those that are pinned, and so many for every coupled channel that a group keeps.
#[derive(Clone, Debug)]
struct Width {
    pinned: usize,
    parts: Vec<(GroupId, usize)>,
}

#[derive(Clone, Debug)]
struct Term {
    node: NodeId,
    /// Parameters an output channel, beside filters.
    per_channel: u64,
    /// Numbers in a filter for an input channel, and output positions.
    filters: Option<Filters>,
}

#[derive(Clone, Debug)]
struct Filters {
    taps: u64,
    positions: u64,
    columns: Columns,
}

#[derive(Clone, Debug)]
enum Columns {
    /// As many as the value read has channels.
    Of(NodeId),
    /// As many as ever: those of a convolution group.
    Fixed(u64),
}

impl CostModel {
    pub(super) fn new(graph: &Graph, groups: &Groups, size: usize) -> Result<Self, GraphError> {
        let shapes = graph.shapes([size, size])?;
        let mut widths: Vec<Width> =
            shapes.iter().map(|shape| Width { pinned: shape.channels, parts: Vec::new() }).collect();
        for (id, group) in groups.all().iter().enumerate() {
            for (&value, &times) in &group.occurs {
                widths[value].pinned -= times * group.coupled.len();
                widths[value].parts.push((id, times));
            }
        }
        let term = |(node, (data, shape)): (NodeId, (&crate::graph::Node, &crate::graph::Shape))| match &data.op {
            Op::Conv(conv) => {
                let columns = match conv.groups {
                    1 => Columns::Of(data.inputs[0]),
                    groups => Columns::Fixed((conv.in_channels / groups) as u64),
                };
                let taps = (conv.kernel[0] * conv.kernel[1]) as u64;
                let filters = Filters { taps, positions: (shape.height * shape.width) as u64, columns };
                Some(Term { node, per_channel: u64::from(conv.bias), filters: Some(filters) })
            }
            Op::BatchNorm(_) => Some(Term { node, per_channel: 2, filters: None }),
            Op::Input { .. }
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::Upsample { .. }
            | Op::Add
            | Op::Concat
            | Op::Slice { .. } => None,
        };
        let terms = graph.nodes().iter().zip(&shapes).enumerate().filter_map(term).collect();
        Ok(Self { widths, terms })
    }

    /// Cost of the network when group `g` keeps `kept[g]` coupled channels.
    pub(super) fn cost(&self, kept: &[usize]) -> Cost {
        let width = |id: NodeId| {
            let Width { pinned, parts } = &self.widths[id];
            (pinned + parts.iter().map(|&(group, times)| times * kept[group]).sum::<usize>()) as u64
        };
        let of = |term: &Term| {
            let channels = width(term.node);
            let weights = |filters: &Filters| {
                let columns = match filters.columns {
                    Columns::Of(input) => width(input),
                    Columns::Fixed(columns) => columns,
                };
                (channels * columns * filters.taps, filters.positions)
            };
            let (weights, positions) = term.filters.as_ref().map_or((0, 0), weights);
            Cost { params: weights + channels * term.per_channel, macs: weights * positions }
        };
        self.terms.iter().map(of).fold(Cost::default(), |sum, cost| sum + cost)
    }
}
