//! Why channels must go together: what is tied to a layer's, and by which node.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    error::PruneError,
    groups::{Group, Groups},
    layers::{convolutions_in, no_such_layer},
    pruner::Pruner,
};
use crate::graph::{Graph, NodeId, Op};

/// What is tied to the channels of one convolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The convolution.
    pub layer: String,
    /// Its channels.
    pub channels: usize,
    /// Channels that never go, because they reach an output of the network.
    pub pinned: usize,
    /// The groups that the others belong to.
    pub groups: Vec<Tied>,
}

/// A group, as one of its layers sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tied {
    /// Its name.
    pub group: String,
    /// How many channels of the layer are in it.
    pub channels: usize,
    /// How many coupled channels it has, which go one by one.
    pub coupled: usize,
    /// Whether an ignored layer keeps it whole.
    pub ignored: bool,
    /// Convolutions whose filters go.
    pub producers: Vec<String>,
    /// Normalisations whose channels go.
    pub norms: Vec<String>,
    /// The nodes that tie channels of several values, each with its kind and the layers whose values it ties.
    pub ties: Vec<Tie>,
    /// Convolutions whose columns go.
    pub readers: Vec<String>,
}

/// A node that ties channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tie {
    /// The node.
    pub node: String,
    /// Its kind, such as Add.
    pub kind: String,
    /// Where what it ties comes from.
    pub of: Vec<String>,
}

impl Pruner {
    /// What is tied to the channels of a convolution, or of each in a module.
    ///
    /// # Errors
    /// A name that is of no convolution and no module that holds one.
    pub fn explain(&self, layer: &str) -> Result<Vec<Explanation>, PruneError> {
        let graph = self.model().graph();
        let found: Vec<NodeId> = convolutions_in(graph, layer).collect();
        match found.is_empty() {
            true => Err(no_such_layer(graph, layer)),
            false => Ok(found.into_iter().map(|id| self.explain_layer(id)).collect()),
        }
    }

    fn explain_layer(&self, id: NodeId) -> Explanation {
        let (graph, groups) = (self.model().graph(), self.groups());
        let mut channels: BTreeMap<usize, usize> = BTreeMap::new();
        let members = groups.labels(id).iter().map(|&label| groups.group_of(label));
        members.clone().flatten().for_each(|(group, _)| *channels.entry(group).or_insert(0) += 1);
        let tied = |(&group, &channels): (&usize, &usize)| {
            let ignored = self.keeps_whole(group);
            let group = &groups.all()[group];
            let names = |ids: &[NodeId]| ids.iter().map(|&id| graph.node(id).name.clone()).collect();
            Tied {
                group: group.name.clone(),
                channels,
                coupled: group.coupled.len(),
                ignored,
                producers: names(&group.producers),
                norms: names(&group.norms),
                ties: ties(graph, groups, group),
                readers: names(&group.consumers),
            }
        };
        Explanation {
            layer: graph.node(id).name.clone(),
            channels: groups.labels(id).len(),
            pinned: members.filter(Option::is_none).count(),
            groups: channels.iter().map(tied).collect(),
        }
    }
}

/// The nodes that tie channels of a group's values.
fn ties(graph: &Graph, groups: &Groups, group: &Group) -> Vec<Tie> {
    let holds = |value: NodeId| groups.labels(value).iter().any(|channel| group.coupled.contains(channel));
    let tie = |&id: &NodeId| {
        let node = graph.node(id);
        let kind = match &node.op {
            Op::Add | Op::Concat | Op::Slice { .. } => node.op.kind().to_owned(),
            Op::Conv(conv) if conv.groups > 1 => format!("Conv of {} groups", conv.groups),
            Op::Input { .. }
            | Op::Conv(_)
            | Op::BatchNorm(_)
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::Upsample { .. } => {
                return None;
            }
        };
        let inputs = node.inputs.iter().filter(|&&input| holds(input));
        Some(Tie {
            node: node.name.clone(),
            kind,
            of: inputs.map(|&input| graph.node(source(graph, input)).name.clone()).collect(),
        })
    };
    group.occurs.keys().filter_map(tie).collect()
}

/// The node behind those that only change values in place.
fn source(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::BatchNorm(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } = graph.node(id).op {
        id = graph.node(id).inputs[0];
    }
    id
}

/// As a tree.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · {} channels", self.layer, self.channels)?;
        let mut branches: Vec<_> = self.groups.iter().map(branch).collect();
        if self.pinned > 0 {
            branches.push((
                format!("{} channels reach an output of the network, or the image: they stay", self.pinned),
                Vec::new(),
            ));
        }
        for (at, (title, twigs)) in branches.iter().enumerate() {
            let (corner, bar) = lines(at + 1 == branches.len());
            write!(f, "\n{corner}{title}")?;
            for (at, (title, leaves)) in twigs.iter().enumerate() {
                let (corner, inner) = lines(at + 1 == twigs.len());
                write!(f, "\n{bar}{corner}{title}")?;
                for (at, leaf) in leaves.iter().enumerate() {
                    let (corner, _) = lines(at + 1 == leaves.len());
                    write!(f, "\n{bar}{inner}{corner}{leaf}")?;
                }
            }
        }
        Ok(())
    }
}

/// What a branch begins with, and what goes on beside those below it.
fn lines(last: bool) -> (&'static str, &'static str) {
    if last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

fn branch(tied: &Tied) -> (String, Vec<(String, Vec<String>)>) {
    let kept = if tied.ignored { ", kept whole because a layer of it is ignored" } else { "" };
    let title =
        format!("group {} · {} of its channels, {} coupled channels{kept}", tied.group, tied.channels, tied.coupled);
    let tie = |tie: &Tie| format!("{} ({}) of {}", tie.node, tie.kind, tie.of.join(", "));
    let twigs = [
        ("filters of", tied.producers.clone()),
        ("normalised by", tied.norms.clone()),
        ("tied by", tied.ties.iter().map(tie).collect()),
        ("read by", tied.readers.clone()),
    ];
    let twigs = twigs.into_iter().filter(|(_, leaves)| !leaves.is_empty());
    (title, twigs.map(|(title, leaves)| (title.to_owned(), leaves)).collect())
}
