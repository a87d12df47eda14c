//! Groups of coupled layers: which channels of which values must be kept or removed together.
//!
//! A union-find over (value, channel) unites what an operation ties; each set that remains is a coupled channel. Which
//! parameter slices belong to it follows from where its channels occur: rows of the operations that produce them, columns
//! of the convolutions that read them. Coupled channels that occur in the same values, equally often, form a [`Group`] and
//! can be ranked against each other. Fang et al. 2023 (DepGraph) derive the same coupling from layer pairs.

use std::collections::{BTreeMap, HashMap};

use super::union_find::UnionFind;
use crate::graph::{Activation, Graph, GraphError, NodeId, Op, Role};

/// The number of a coupled channel: see [`Groups::coupled`].
pub type ChannelId = usize;

/// A group's place in [`Groups::all`].
pub type GroupId = usize;

/// The groups of a graph and their coupled channels.
#[derive(Clone, Debug)]
pub struct Groups {
    /// For every value, the coupled channel that each of its channels belongs to.
    labels: Vec<Vec<ChannelId>>,
    /// For every coupled channel, its group and its index there; `None` where it is pinned.
    member: Vec<Option<(GroupId, usize)>>,
    groups: Vec<Group>,
}

/// Coupled layers with the channels that tie them, such as all channels that a convolution gives to one reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of its first convolution in graph order, with a channel range where that convolution's channels belong to
    /// several groups: `model.2.cv1.conv[0..16]`.
    pub name: String,
    /// The first convolution that produces its channels.
    pub layer: NodeId,
    /// Convolutions whose filters belong to the group, in graph order.
    pub producers: Vec<NodeId>,
    /// Normalisations whose channels belong to the group, in graph order.
    pub norms: Vec<NodeId>,
    /// Ungrouped convolutions that read the group's channels, in graph order.
    pub consumers: Vec<NodeId>,
    /// Its coupled channels, in the order of the channels of `layer`.
    pub coupled: Vec<ChannelId>,
    /// The first channel of each in `layer`, in the same order.
    pub channels: Vec<usize>,
    /// How many channels of which values each of its coupled channels takes.
    pub(super) occurs: BTreeMap<NodeId, usize>,
}

impl Groups {
    /// Finds the groups of a graph. Channels of the image and of the graph's outputs are pinned: they belong to no group.
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
        let mut number: HashMap<usize, ChannelId> = HashMap::new();
        let mut labels: Vec<Vec<ChannelId>> = Vec::with_capacity(channels.len());
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

    /// Sorts the coupled channels into groups by where they occur.
    fn classify(graph: &Graph, labels: Vec<Vec<ChannelId>>, count: usize, pinned: Option<ChannelId>) -> Self {
        let mut occurs: Vec<Vec<NodeId>> = vec![Vec::new(); count];
        for (value, channels) in labels.iter().enumerate() {
            channels.iter().for_each(|&channel| occurs[channel].push(value));
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut known: HashMap<&[NodeId], GroupId> = HashMap::new();
        let mut member = vec![None; count];
        for (channel, values) in occurs.iter().enumerate() {
            let Some(layer) = values.iter().copied().find(|&id| graph.node(id).op.owns(Role::Weight)) else {
                continue;
            };
            if Some(channel) == pinned {
                continue;
            }
            let group = *known.entry(values).or_insert_with(|| {
                groups.push(Group::at(graph, layer, values));
                groups.len() - 1
            });
            member[channel] = Some((group, groups[group].coupled.len()));
            let first = labels[layer].iter().position(|&label| label == channel).unwrap_or_default();
            groups[group].coupled.push(channel);
            groups[group].channels.push(first);
        }
        name_groups(graph, &mut groups);
        Self { labels, member, groups }
    }

    /// The groups that can be pruned, in graph order.
    pub fn all(&self) -> &[Group] {
        &self.groups
    }

    /// The coupled channel that a channel of a node's output belongs to.
    pub fn coupled(&self, node: NodeId, channel: usize) -> Option<ChannelId> {
        self.labels.get(node)?.get(channel).copied()
    }

    /// The coupled channels that the channels of a node's output belong to.
    pub(super) fn labels(&self, node: NodeId) -> &[ChannelId] {
        &self.labels[node]
    }

    /// A coupled channel's group and its index there, or `None` where it must stay.
    pub fn group_of(&self, channel: ChannelId) -> Option<(GroupId, usize)> {
        self.member.get(channel).copied().flatten()
    }

    /// How many coupled channels there are, pinned ones included.
    pub fn count(&self) -> usize {
        self.member.len()
    }
}

impl Group {
    fn at(graph: &Graph, layer: NodeId, values: &[NodeId]) -> Self {
        let mut occurs = BTreeMap::new();
        values.iter().for_each(|&value| *occurs.entry(value).or_insert(0) += 1);
        let owners = |role| occurs.keys().copied().filter(|&id| graph.node(id).op.owns(role)).collect();
        let (producers, norms) = (owners(Role::Weight), owners(Role::NormScale));
        let readers = graph.readers().into_iter().filter(|reader| occurs.contains_key(&reader.input));
        let consumers = readers.map(|reader| reader.node).collect();
        let name = graph.node(layer).name.clone();
        Self { name, layer, producers, norms, consumers, coupled: Vec::new(), channels: Vec::new(), occurs }
    }
}

/// Gives groups that share their first convolution a channel range, or a number where there is no range.
fn name_groups(graph: &Graph, groups: &mut [Group]) {
    let mut sharing: HashMap<NodeId, usize> = HashMap::new();
    groups.iter().for_each(|group| *sharing.entry(group.layer).or_insert(0) += 1);
    let mut seen: HashMap<NodeId, usize> = HashMap::new();
    for group in groups {
        let number = seen.entry(group.layer).or_insert(0);
        *number += 1;
        if sharing[&group.layer] > 1 {
            let first = group.channels[0];
            let range = group.channels.iter().copied().eq(first..first + group.channels.len());
            let part =
                if range { format!("[{first}..{}]", first + group.channels.len()) } else { format!("#{number}") };
            group.name = format!("{}{part}", graph.node(group.layer).name);
        }
    }
}

/// Reports what a node ties its output's channels to: `(value, channel, Some((value, channel)))` are coupled,
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
