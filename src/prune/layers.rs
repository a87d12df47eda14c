//! Names of layers, and patterns of them, as users give them.

use super::{error::PruneError, groups::Groups};
use crate::{
    graph::{Graph, NodeId, Role},
    nearest::did_you_mean,
    options::ByPattern,
};

/// A pattern of layers' names or of the modules that hold them (`model.24`, `model.*.m`).
#[derive(Clone, Debug)]
pub(super) struct Pattern(glob::Pattern);

/// For every group, the value of the most specific of the patterns that fit one of its layers: the one that spells out most
/// characters; `None` where none fits. `key` is the option's, for errors.
///
/// # Errors
/// A pattern that cannot be read or that fits no convolution, and two of different values that are equally specific.
pub(super) fn by_group<T: Copy + PartialEq>(
    key: &'static str,
    patterns: &ByPattern<T>,
    graph: &Graph,
    groups: &Groups,
) -> Result<Vec<Option<T>>, PruneError> {
    let read = |(text, &value)| Ok((text, Pattern::of(text, graph)?, value));
    let of_option = |error| PruneError::Of { key, source: Box::new(error) };
    let patterns: Vec<(&str, Pattern, T)> = patterns.iter().map(read).collect::<Result<_, _>>().map_err(of_option)?;
    let mut values = Vec::with_capacity(groups.all().len());
    for group in groups.all() {
        let mut best: Option<(usize, &str, T)> = None;
        for (text, pattern, value) in &patterns {
            let rank = specificity(text);
            if !group.producers.iter().any(|&layer| pattern.covers(&graph.node(layer).name)) {
                continue;
            }
            match best {
                Some((known, other, of)) if known == rank && of != *value => {
                    let patterns = [other.to_owned(), (*text).to_owned()];
                    return Err(of_option(PruneError::Ambiguous { layer: group.name.clone(), patterns }));
                }
                Some((known, ..)) if known >= rank => {}
                _ => best = Some((rank, text, *value)),
            }
        }
        values.push(best.map(|(_, _, value)| value));
    }
    Ok(values)
}

/// How many characters a pattern spells out.
fn specificity(text: &str) -> usize {
    text.chars().filter(|letter| !matches!(letter, '*' | '?')).count()
}

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

/// The convolutions of this name, or in the module of this name.
pub(super) fn convolutions_in<'a>(graph: &'a Graph, name: &'a str) -> impl Iterator<Item = NodeId> + 'a {
    graph.owners(Role::Weight).filter(move |&id| modules(&graph.node(id).name).any(|module| module == name))
}

/// The modules that hold a layer, outermost first, and the layer itself.
fn modules(layer: &str) -> impl Iterator<Item = &str> {
    layer.match_indices('.').map(|(end, _)| &layer[..end]).chain([layer])
}

fn convolutions(graph: &Graph) -> impl Iterator<Item = &str> {
    graph.owners(Role::Weight).map(|id| graph.node(id).name.as_str())
}
