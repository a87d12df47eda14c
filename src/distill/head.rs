//! The head of a detector as networks of their own, a level each.

use super::error::DistillError;
use crate::{
    graph::{Graph, NodeId, Op},
    model::{Detector, Head, Model, Output},
};

/// One level of a head.
pub(super) struct HeadLevel {
    /// From the features (n, channels, h, w), its only input, to the level's outputs.
    pub model: Model,
    /// Which of the whole detector's outputs those are.
    pub outputs: Vec<usize>,
}

/// The input of a level's network.
pub(super) const FEATURES: NodeId = 0;

/// The part of a detector that alone depends on the features that a node of its neck gives.
///
/// # Errors
/// Where what the node feeds reads something else as well, or is no single level of the head.
pub(super) fn level(detector: &Model, features: NodeId) -> Result<HeadLevel, DistillError> {
    let (graph, facts) = (detector.graph(), detector.detector());
    let no_level = || DistillError::NoLevel { layer: graph.node(features).name.clone() };
    let mut own = Graph::new();
    let input = own.add("features", Op::Input { channels: graph.channels()?[features] }, &[]);
    let mut places = vec![None; graph.nodes().len()];
    places[features] = Some(input);
    let module: String = head_module(graph);
    for (id, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.name.starts_with(&module)) {
        let inputs: Vec<Option<NodeId>> = node.inputs.iter().map(|&input| places[input]).collect();
        if inputs.iter().any(Option::is_some) {
            let inputs = inputs.into_iter().collect::<Option<Vec<_>>>().ok_or_else(no_level)?;
            places[id] = Some(own.add(node.name.clone(), node.op.clone(), &inputs));
        }
    }
    let reached = graph.outputs().iter().enumerate().filter_map(|(index, &id)| Some((index, places[id]?)));
    let (outputs, nodes): (Vec<usize>, Vec<NodeId>) = reached.unzip();
    own.set_outputs(nodes);
    let of: Vec<Output> = outputs.iter().map(|&index| facts.outputs[index]).collect();
    let at = of.first().map(|output| output.level).filter(|&level| of.iter().all(|other| other.level == level));
    let at = at.ok_or_else(no_level)?;
    let head = match &facts.head {
        Head::Anchors { anchors } => Head::Anchors { anchors: vec![anchors[at].clone()] },
        Head::Distribution { reg_max } => Head::Distribution { reg_max: *reg_max },
    };
    let mut level = Detector::new(facts.classes.clone(), vec![facts.strides[at]], head);
    level.outputs = of.iter().map(|output| Output { level: 0, ..*output }).collect();
    let names = own.parameters().map(|(_, name, _)| name);
    let tensors = names.filter_map(|name| Some((name.clone(), detector.tensors().get(&name)?.clone()))).collect();
    let model = Model::new(own, tensors, level, detector.provenance().clone())?;
    Ok(HeadLevel { model, outputs })
}

/// What the names of the head's nodes begin with.
pub(super) fn head_module(graph: &Graph) -> String {
    let name = graph.outputs().first().map_or("", |&output| graph.node(output).name.as_str());
    name.split('.').take(2).collect::<Vec<_>>().join(".") + "."
}
