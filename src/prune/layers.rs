//! Names of layers, and patterns of them, as users give them.

use super::error::PruneError;
use crate::{
    graph::{Graph, Role},
    nearest::did_you_mean,
};

/// A pattern of layers' names or of the modules that hold them (`model.24`, `model.*.m`).
#[derive(Clone, Debug)]
pub(super) struct Pattern(glob::Pattern);

impl Pattern {
    /// Reads a pattern that must fit some convolution of the graph.
    ///
    /// # Errors
    /// Text that cannot be read as a pattern, or that matches no convolution.
    pub(super) fn of(text: &str, graph: &Graph) -> Result<Self, PruneError> {
        let pattern = glob::Pattern::new(text)
            .map_err(|error| PruneError::Pattern { pattern: text.to_owned(), reason: error.to_string() })?;
        let pattern = Self(pattern);
        let fits = convolutions(graph).any(|layer| pattern.covers(layer));
        if fits { Ok(pattern) } else { Err(no_such_layer(graph, text)) }
    }

    /// Whether it matches a layer's name or a module that holds the layer.
    pub(super) fn covers(&self, layer: &str) -> bool {
        modules(layer).any(|name| self.0.matches(name))
    }
}

/// The error for a name or pattern that fits no convolution.
pub(super) fn no_such_layer(graph: &Graph, name: &str) -> PruneError {
    let hint = did_you_mean(name, convolutions(graph).flat_map(modules));
    PruneError::NoSuchLayer { name: name.to_owned(), hint }
}

/// The modules that hold a layer, outermost first, and the layer itself.
fn modules(layer: &str) -> impl Iterator<Item = &str> {
    layer.match_indices('.').map(|(end, _)| &layer[..end]).chain([layer])
}

fn convolutions(graph: &Graph) -> impl Iterator<Item = &str> {
    graph.owners(Role::Weight).map(|id| graph.node(id).name.as_str())
}
