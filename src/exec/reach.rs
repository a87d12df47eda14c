//! Which values a run needs, and where a run can begin so that it computes only what has changed.

use crate::graph::{Graph, NodeId};

/// Whether each node is needed for the values `wanted` by a run that is given the values of `starts`.
pub(super) fn needed(graph: &Graph, starts: &[NodeId], wanted: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    wanted.iter().for_each(|&id| needed[id] = true);
    for (id, node) in graph.nodes().iter().enumerate().rev() {
        if needed[id] && !starts.contains(&id) {
            node.inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    needed
}

/// The values with which a run can begin that computes anew only what depends on `changed` nodes: those that do not depend
/// on them, and that a node which does reads, or that are outputs of the graph. Ascending.
pub fn frontier(graph: &Graph, changed: &[NodeId]) -> Vec<NodeId> {
    let mut depends = vec![false; graph.nodes().len()];
    let mut read = vec![false; graph.nodes().len()];
    for (id, node) in graph.nodes().iter().enumerate() {
        depends[id] = changed.contains(&id) || node.inputs.iter().any(|&input| depends[input]);
        if depends[id] {
            node.inputs.iter().for_each(|&input| read[input] = true);
        }
    }
    graph.outputs().iter().for_each(|&id| read[id] = true);
    (0..depends.len()).filter(|&id| read[id] && !depends[id]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;

    #[test]
    fn a_branch_is_computed_anew_without_the_other() {
        let mut graph = Graph::new();
        let image = graph.add("images", Op::Input { channels: 4 }, &[]);
        let left = graph.add("left", Op::Slice { start: 0, len: 2 }, &[image]);
        let right = graph.add("right", Op::Slice { start: 2, len: 2 }, &[image]);
        let up = graph.add("up", Op::Upsample { scale: 1 }, &[right]);
        let sum = graph.add("sum", Op::Add, &[left, up]);
        graph.set_outputs(vec![sum, left]);
        assert_eq!(frontier(&graph, &[up]), [left, right]);
        assert_eq!(frontier(&graph, &[right]), [image, left]);
        assert_eq!(needed(&graph, &[left, right], &[sum, left]), [false, true, true, true, true]);
        assert_eq!(needed(&graph, &[left, up], &[sum, left]), [false, true, false, true, true]);
        assert_eq!(needed(&graph, &[left, up], &[sum, left, right]), [true, true, true, true, true]);
        assert_eq!(needed(&graph, &[], &[up]), [true, false, true, true, false]);
    }
}
