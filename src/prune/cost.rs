//! Exact parameters and MACs of a graph as a function of how many coupled channels each group keeps.

use super::groups::{GroupId, Groups};
use crate::graph::{Cost, Graph, GraphError, NodeId, Parameter, Role, Shape};

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

/// One trained tensor: its size is a product of widths and of extents that stay.
#[derive(Clone, Debug)]
struct Term {
    widths: Vec<NodeId>,
    fixed: u64,
    /// Output positions at which each of its numbers is multiplied.
    positions: u64,
}

impl CostModel {
    pub(super) fn new(graph: &Graph, groups: &Groups, size: usize) -> Result<Self, GraphError> {
        // The counts of the whole network fit, and so do those of any part of it.
        graph.costs([size; 2])?;
        let shapes = graph.shapes([size; 2])?;
        let mut widths: Vec<Width> =
            shapes.iter().map(|shape| Width { pinned: shape.channels, parts: Vec::new() }).collect();
        for (id, group) in groups.all().iter().enumerate() {
            for (&value, &times) in &group.occurs {
                widths[value].pinned -= times * group.coupled.len();
                widths[value].parts.push((id, times));
            }
        }
        let trained = graph.parameters().filter(|(_, _, parameter)| parameter.role.is_trainable());
        let terms =
            trained.map(|(id, _, parameter)| Term::of(&parameter, graph.node(id).inputs[0], id, &shapes[id])).collect();
        Ok(Self { widths, terms })
    }

    /// Channels of a value when group `g` keeps `kept[g]` coupled channels.
    pub(super) fn channels(&self, value: NodeId, kept: &[usize]) -> usize {
        let Width { pinned, parts } = &self.widths[value];
        pinned + parts.iter().map(|&(group, times)| times * kept[group]).sum::<usize>()
    }

    /// Cost of the network when group `g` keeps `kept[g]` coupled channels.
    pub(super) fn cost(&self, kept: &[usize]) -> Cost {
        let width = |&id: &NodeId| self.channels(id, kept) as u64;
        let of = |term: &Term| {
            let params = term.fixed * term.widths.iter().map(width).product::<u64>();
            Cost { params, macs: params * term.positions }
        };
        self.terms.iter().map(of).fold(Cost::default(), |sum, cost| sum + cost)
    }

    /// What goes with one channel of each group, when it alone goes.
    pub(super) fn of_one(&self, groups: &Groups) -> Vec<Cost> {
        let mut kept: Vec<usize> = groups.all().iter().map(|group| group.coupled.len()).collect();
        let whole = self.cost(&kept);
        let mut without = |id: GroupId| {
            kept[id] -= 1;
            let rest = self.cost(&kept);
            kept[id] += 1;
            Cost { params: whole.params - rest.params, macs: whole.macs - rest.macs }
        };
        (0..groups.all().len()).map(&mut without).collect()
    }
}

impl Term {
    fn of(parameter: &Parameter, input: NodeId, id: NodeId, output: &Shape) -> Self {
        let channels = parameter.channel_axes(input, id);
        let fixed = |(place, extent): (usize, &usize)| {
            let varies = channels.iter().any(|&(axis, _)| axis == place);
            if varies { 1 } else { *extent as u64 }
        };
        Self {
            fixed: parameter.shape.iter().enumerate().map(fixed).product(),
            widths: channels.iter().map(|&(_, value)| value).collect(),
            positions: if parameter.role == Role::Weight { (output.height * output.width) as u64 } else { 0 },
        }
    }
}
