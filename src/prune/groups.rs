//! Channel groups: which channels of which values must be kept or removed together.
//!
//! A union-find over (value, channel) unites what an operation ties; what remains are the groups. Which parameter slices
//! belong to a group follows from where its channels occur: rows of the operations that produce them, columns of the
//! convolutions that read them. Groups that occur in the same values, equally often, form a [`Family`] and can be ranked
//! against each other. Fang et al. 2023 (DepGraph) derive the same coupling from layer pairs.

use std::collections::{BTreeMap, HashMap};

use super::union_find::UnionFind;
use crate::graph::{Activation, Graph, GraphError, NodeId, Op};

/// A channel group's place: see [`Groups::group_of`].
pub type GroupId = usize;

/// A family's place in [`Groups::families`].
pub type FamilyId = usize;

/// The channel groups of a graph.
#[derive(Clone, Debug)]
pub struct Groups {
    /// For every value, the group of each of its channels.
    labels: Vec<Vec<GroupId>>,
    /// For every group, its family and its place there; `None` where it is pinned.
    member: Vec<Option<(FamilyId, usize)>>,
    families: Vec<Family>,
}

/// Groups of the same structure, such as all channels that a convolution gives to one reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name of its first convolution in graph order, with a channel range where that convolution's channels belong to
    /// several families: `model.2.cv1.conv[0..16]`.
    pub name: String,
    /// The first convolution that produces its channels.
    pub layer: NodeId,
    /// Convolutions whose filters belong to the groups, in graph order.
    pub producers: Vec<NodeId>,
    /// Normalisations whose channels belong to the groups, in graph order.
    pub norms: Vec<NodeId>,
    /// Ungrouped convolutions that read the groups' channels, in graph order.
    pub consumers: Vec<NodeId>,
    /// Its groups, in the order of the channels of `layer`.
    pub groups: Vec<GroupId>,
    /// Each group's first channel in `layer`, in the same order.
    pub channels: Vec<usize>,
    /// How many channels of which values every one of its groups takes.
    pub(super) occurs: BTreeMap<NodeId, usize>,
}

impl Groups {
    /// Finds the groups of a graph. Channels of the image and of the graph's outputs are pinned: they belong to no family.
    ///
    /// # Errors
    /// Where the graph does not fit together.
    pub fn of(graph: &Graph) -> Result<Self, GraphError> {
        graph.validate()?;
        let channels = graph.channels()?;
        let offset: Vec<usize> = channels
            .iter()
            .scan(0, |next, &count| {
                let start = *next;
                *next += count;
                Some(start)
            })
            .collect();
        let total: usize = channels.iter().sum();
        let mut sets = UnionFind::new(total + 1);
        let pin = total;
        for id in 0..graph.nodes().len() {
            tie(graph, id, &channels, |value, channel, tied| {
                let other = tied.map_or(pin, |(value, channel)| offset[value] + channel);
                sets.unite(offset[value] + channel, other);
            });
        }
        for &output in graph.outputs() {
            (0..channels[output]).for_each(|channel| sets.unite(offset[output] + channel, pin));
        }
        let mut number: HashMap<usize, GroupId> = HashMap::new();
        let mut labels: Vec<Vec<GroupId>> = Vec::with_capacity(channels.len());
        for (value, &count) in channels.iter().enumerate() {
            let label = |channel| {
                let next = number.len();
                *number.entry(sets.find(offset[value] + channel)).or_insert(next)
            };
            labels.push((0..count).map(label).collect());
        }
        let pinned = number.get(&sets.find(pin)).copied();
        Ok(Self::classify(graph, labels, number.len(), pinned))
    }

    /// Sorts the groups into families by where they occur.
    fn classify(graph: &Graph, labels: Vec<Vec<GroupId>>, count: usize, pinned: Option<GroupId>) -> Self {
        let mut occurs: Vec<Vec<NodeId>> = vec![Vec::new(); count];
        for (value, groups) in labels.iter().enumerate() {
            groups.iter().for_each(|&group| occurs[group].push(value));
        }
        let mut families: Vec<Family> = Vec::new();
        let mut known: HashMap<&[NodeId], FamilyId> = HashMap::new();
        let mut member = vec![None; count];
        for (group, values) in occurs.iter().enumerate() {
            let Some(layer) = values.iter().copied().find(|&id| matches!(graph.node(id).op, Op::Conv(_))) else {
                continue;
            };
            if Some(group) == pinned {
                continue;
            }
            let family = *known.entry(values).or_insert_with(|| {
                families.push(Family::at(graph, layer, values));
                families.len() - 1
            });
            member[group] = Some((family, families[family].groups.len()));
            let channel = labels[layer].iter().position(|&label| label == group).unwrap_or_default();
            families[family].groups.push(group);
            families[family].channels.push(channel);
        }
        name_families(graph, &mut families);
        Self { labels, member, families }
    }

    /// The families that can be pruned, in graph order.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The group that a channel of a node's output belongs to.
    pub fn group_of(&self, node: NodeId, channel: usize) -> Option<GroupId> {
        self.labels.get(node)?.get(channel).copied()
    }

    /// The groups of every channel of a node's output.
    pub(super) fn labels(&self, node: NodeId) -> &[GroupId] {
        &self.labels[node]
    }

    /// A group's family and its place there, or `None` where it must stay.
    pub fn family_of(&self, group: GroupId) -> Option<(FamilyId, usize)> {
        self.member.get(group).copied().flatten()
    }

    /// How many groups there are, pinned ones included.
    pub fn count(&self) -> usize {
        self.member.len()
    }
}

impl Family {
    fn at(graph: &Graph, layer: NodeId, values: &[NodeId]) -> Self {
        let mut occurs = BTreeMap::new();
        values.iter().for_each(|&value| *occurs.entry(value).or_insert(0) += 1);
        let of_kind =
            |wanted: fn(&Op) -> bool| occurs.keys().copied().filter(|&id| wanted(&graph.node(id).op)).collect();
        let producers = of_kind(|op| matches!(op, Op::Conv(_)));
        let norms = of_kind(|op| matches!(op, Op::BatchNorm(_)));
        let reads = |node: &crate::graph::Node| match &node.op {
            Op::Conv(conv) => conv.groups == 1 && node.inputs.iter().any(|input| occurs.contains_key(input)),
            _ => false,
        };
        let consumers = graph.nodes().iter().enumerate().filter(|(_, node)| reads(node)).map(|(id, _)| id).collect();
        let name = graph.node(layer).name.clone();
        Self { name, layer, producers, norms, consumers, groups: Vec::new(), channels: Vec::new(), occurs }
    }
}

/// Gives families that share their first convolution a channel range, or a number where there is no range.
fn name_families(graph: &Graph, families: &mut [Family]) {
    let mut sharing: HashMap<NodeId, usize> = HashMap::new();
    families.iter().for_each(|family| *sharing.entry(family.layer).or_insert(0) += 1);
    let mut seen: HashMap<NodeId, usize> = HashMap::new();
    for family in families {
        let number = seen.entry(family.layer).or_insert(0);
        *number += 1;
        if sharing[&family.layer] > 1 {
            let first = family.channels[0];
            let range = family.channels.iter().copied().eq(first..first + family.channels.len());
            let part =
                if range { format!("[{first}..{}]", first + family.channels.len()) } else { format!("#{number}") };
            family.name = format!("{}{part}", graph.node(family.layer).name);
        }
    }
}

/// Reports what a node ties its output's channels to: `(value, channel, Some((value, channel)))` are one group,
/// `(value, channel, None)` must stay.
fn tie(graph: &Graph, id: NodeId, channels: &[usize], mut unite: impl FnMut(NodeId, usize, Option<(NodeId, usize)>)) {
    let node = graph.node(id);
    let mut same = |input: NodeId, from: usize, to: usize| {
        let count = (channels[input] - from).min(channels[id] - to);
        (0..count).for_each(|channel| unite(id, to + channel, Some((input, from + channel))));
    };
    match &node.op {
        Op::Input { channels } => (0..*channels).for_each(|channel| unite(id, channel, None)),
        Op::Conv(conv) if conv.groups == 1 => {}
        Op::Conv(conv) => {
            // Whole convolution groups, which in a depthwise convolution are single channels.
            let (reads, gives) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
            for group in 0..conv.groups {
                let (input, first) = (node.inputs[0], group * reads);
                (first + 1..first + reads).for_each(|column| unite(input, column, Some((input, first))));
                (group * gives..(group + 1) * gives).for_each(|row| unite(id, row, Some((input, first))));
            }
        }
        Op::Activation(activation) if !keeps_zero(*activation) => {
            (0..channels[id]).for_each(|channel| {
                unite(id, channel, None);
                unite(node.inputs[0], channel, None);
            });
        }
        Op::Activation(_) | Op::BatchNorm(_) | Op::MaxPool(_) | Op::Upsample { .. } => same(node.inputs[0], 0, 0),
        Op::Add => node.inputs.iter().for_each(|&input| same(input, 0, 0)),
        Op::Concat => {
            let mut to = 0;
            for &input in &node.inputs {
                same(input, 0, to);
                to += channels[input];
            }
        }
        Op::Slice { start, len: _ } => same(node.inputs[0], *start, 0),
    }
}

/// Whether f(0) = 0. Where it is not, removing a channel is not the same as zeroing it, and it must stay.
fn keeps_zero(activation: Activation) -> bool {
    match activation {
        Activation::Silu | Activation::Relu | Activation::LeakyRelu { .. } | Activation::Hardswish => true,
    }
}
