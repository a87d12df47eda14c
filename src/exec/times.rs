//! How long the steps of a run take.

use crate::graph::NodeId;

/// Seconds that each step of a run took, by the node it begins with; a step is a node or several that run as one.
/// Empty on the reference backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// Forwards, in the order of the run.
    pub forward: Vec<(NodeId, f64)>,
    /// Backwards, in the order of the run; steps that no gradient reaches are absent.
    pub backward: Vec<(NodeId, f64)>,
}
