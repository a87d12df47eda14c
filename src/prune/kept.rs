//! Which filters and channels a pruned model kept of the one that was pruned first.

use std::collections::BTreeMap;

use super::{error::PruneError, groups::Groups, removal::Removal};
use crate::{
    graph::{Graph, Op, Role},
    model::{Kept, Model},
};

/// For every node, which channels of the reference's node its own channels are. The nodes of both graphs correspond.
///
/// # Errors
/// A model that was not made of the reference by removing channels.
pub(crate) fn kept_channels(model: &Model, reference: &Graph) -> Result<Vec<Vec<usize>>, PruneError> {
    let graph = model.graph();
    let foreign = |layer: &str, reason: String| PruneError::NotPrunedFrom { layer: layer.to_owned(), reason };
    if let Some((own, other)) = graph
        .nodes()
        .iter()
        .zip(reference.nodes())
        .find(|(own, other)| own.name != other.name || own.inputs != other.inputs)
    {
        return Err(foreign(&own.name, format!("the reference has `{}` in its place", other.name)));
    }
    if graph.nodes().len() != reference.nodes().len() {
        let counts = [graph, reference].map(|graph| graph.nodes().len());
        return Err(foreign("the model", format!("it has {} nodes, the reference {}", counts[0], counts[1])));
    }
    let (own, all) = (graph.channels()?, reference.channels()?);
    let mut kept: Vec<Vec<usize>> = Vec::with_capacity(own.len());
    for (id, node) in graph.nodes().iter().enumerate() {
        let first = || kept[node.inputs[0]].clone();
        let channels = match (&node.op, &reference.node(id).op) {
            (Op::Conv(_), _) => match model.provenance().kept.get(&node.name) {
                Some(left) if left.of == all[id] => left.filters.clone(),
                Some(left) => {
                    let reason = format!("it was pruned from {} filters, the reference has {}", left.of, all[id]);
                    return Err(foreign(&node.name, reason));
                }
                None => (0..all[id]).collect(),
            },
            (Op::Input { channels }, _) => (0..*channels).collect(),
            (Op::BatchNorm(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } | Op::Add, _) => first(),
            (Op::Concat, _) => {
                let offsets = node.inputs.iter().scan(0, |next, &input| {
                    let offset = *next;
                    *next += all[input];
                    Some((input, offset))
                });
                offsets.flat_map(|(input, offset)| kept[input].iter().map(move |channel| offset + channel)).collect()
            }
            (Op::Slice { .. }, Op::Slice { start, len }) => {
                let inside = first().into_iter().filter(|channel| (*start..start + len).contains(channel));
                inside.map(|channel| channel - start).collect()
            }
            (Op::Slice { .. }, other) => {
                return Err(foreign(&node.name, format!("the reference's is a {}", other.kind())));
            }
        };
        if channels.len() != own[id] || channels.iter().any(|&channel| channel >= all[id]) {
            let reason = format!("{} of {} channels are known to be kept, it has {}", channels.len(), all[id], own[id]);
            return Err(foreign(&node.name, reason));
        }
        kept.push(channels);
    }
    Ok(kept)
}

/// What is left of the filters of the model that was first pruned.
pub(super) fn kept_filters(model: &Model, groups: &Groups, removal: &Removal) -> BTreeMap<String, Kept> {
    let mut left = model.provenance().kept.clone();
    for id in model.graph().owners(Role::Weight) {
        let labels = groups.labels(id);
        let filters = removal.kept(labels);
        if filters.len() == labels.len() {
            continue;
        }
        let name = &model.graph().node(id).name;
        let before = left.get(name).filter(|before| before.filters.len() == labels.len());
        let kept = match before {
            Some(before) => {
                Kept { of: before.of, filters: filters.iter().map(|&filter| before.filters[filter]).collect() }
            }
            None => Kept { of: labels.len(), filters },
        };
        left.insert(name.clone(), kept);
    }
    left
}
