//! Cuts a file in two at its non-maximum suppression, which the engine computes otherwise than ONNX says: it divides by the
//! smallest box around two boxes, not by their union. What lies between is then computed here.

use std::collections::{BTreeSet, HashSet};

use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfo};

/// The two parts of a file, and what is between them.
pub(super) struct Cut {
    /// From the images to what suppression and the second part read.
    pub before: ModelProto,
    /// From there, and from what suppression gives, to the outputs.
    pub after: ModelProto,
    /// What suppression reads: boxes, scores, the most boxes of a class, the intersection over union and the score; without a
    /// name, or missing at the end, where the file leaves it out.
    pub reads: Vec<String>,
    /// Whether boxes are told by centre and size, not by two corners.
    pub centred: bool,
    /// What it gives.
    pub gives: String,
    /// What the second part reads of the first.
    pub passed: Vec<String>,
}

/// The parts of a file; none, where it has no suppression.
pub(super) fn cut(file: &ModelProto) -> Option<Cut> {
    let graph = file.graph.as_ref()?;
    let node = graph.node.iter().find(|node| node.op_type == "NonMaxSuppression")?;
    let gives = node.output.first()?.clone();
    let (before, after) = parts(graph, node, &gives);
    let made: HashSet<&String> = after.iter().flat_map(|node| &node.output).collect();
    let constants: HashSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
    let from_outside =
        |name: &&String| !name.is_empty() && **name != gives && !made.contains(name) && !constants.contains(name);
    let passed: BTreeSet<String> = after.iter().flat_map(|node| &node.input).filter(from_outside).cloned().collect();
    let passed: Vec<String> = passed.into_iter().collect();

    let value = |name: &String| ValueInfo { name: name.clone(), r#type: None };
    let wanted: BTreeSet<&String> = node.input.iter().filter(|name| !name.is_empty()).chain(&passed).collect();
    let part = |nodes: Vec<NodeProto>, input: Vec<ValueInfo>, output: Vec<ValueInfo>| {
        let read: HashSet<&String> =
            nodes.iter().flat_map(|node| &node.input).chain(output.iter().map(|value| &value.name)).collect();
        let initializer = graph.initializer.iter().filter(|tensor| read.contains(&tensor.name)).cloned().collect();
        let graph = GraphProto { node: nodes.clone(), name: graph.name.clone(), initializer, input, output };
        ModelProto { graph: Some(graph), ..ModelProto { graph: None, ..file.clone() } }
    };
    let inputs = passed.iter().chain([&gives]).map(value).collect();
    Some(Cut {
        before: part(before, graph.input.clone(), wanted.into_iter().map(value).collect()),
        after: part(after, inputs, graph.output.clone()),
        reads: node.input.clone(),
        centred: node.attribute.iter().any(|attribute| attribute.name == "center_point_box" && attribute.i == Some(1)),
        gives,
        passed,
    })
}

/// The nodes that do not depend on the suppression, and those that do.
fn parts(graph: &GraphProto, suppression: &NodeProto, gives: &String) -> (Vec<NodeProto>, Vec<NodeProto>) {
    let mut depends: HashSet<&String> = HashSet::from([gives]);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for node in graph.node.iter().filter(|node| node.output != suppression.output) {
        let late = node.input.iter().any(|input| depends.contains(input));
        if late {
            depends.extend(&node.output);
        }
        if late { after.push(node.clone()) } else { before.push(node.clone()) }
    }
    (before, after)
}
