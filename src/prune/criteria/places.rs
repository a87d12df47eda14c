//! Where criteria look at what flows through a model.

use crate::{
    graph::{NodeId, Role},
    model::Model,
};

/// What every convolution's unit gives: after its normalisation and its activation function.
pub(super) fn activations(model: &Model) -> Vec<NodeId> {
    model.graph().owners(Role::Weight).map(|id| model.unit_output(id)).collect()
}

/// What every convolution's filters give: after the normalisation, which undoes their scale, and before the activation
/// function.
pub(super) fn responses(model: &Model) -> Vec<NodeId> {
    model.graph().owners(Role::Weight).map(|id| model.norm_after(id).unwrap_or(id)).collect()
}

/// What every convolution reads.
pub(super) fn inputs(model: &Model) -> Vec<NodeId> {
    model.graph().owners(Role::Weight).map(|id| model.graph().node(id).inputs[0]).collect()
}
