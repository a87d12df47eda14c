//! What can be wrong with a graph.

use thiserror::Error;

use super::node::NodeId;

/// What can be wrong with a graph, or with asking something of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two nodes of one name would own the same tensors.
    #[error("two layers are named `{name}`; every layer needs a name of its own")]
    DuplicateName {
        /// The name in question.
        name: String,
    },
    /// A node reads something that does not come before it.
    #[error("layer `{name}` reads layer {input}, which does not come before it")]
    BadInput {
        /// The reading node.
        name: String,
        /// The place it reads from.
        input: NodeId,
    },
    /// An output that is no node.
    #[error("output {output} is not a layer of the graph, which has {nodes} layers")]
    BadOutput {
        /// The place that was named.
        output: NodeId,
        /// How many nodes there are.
        nodes: usize,
    },
    /// An operation whose inputs or attributes do not fit.
    #[error("layer `{name}` ({kind}): {reason}")]
    BadNode {
        /// The node in question.
        name: String,
        /// Its kind.
        kind: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
}
