//! What two plans do differently.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::plan::Plan;

/// A layer of which two plans remove different channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffRow {
    /// The convolution, the module of a residual branch, or the tensor of a mask.
    pub layer: String,
    /// Its channels; 1 of a branch, which goes as a whole; its weights.
    pub channels: usize,
    /// How many go in the one plan, and in the other.
    pub go: [usize; 2],
    /// How many go in both.
    pub both: usize,
    /// The channels that go in the one plan alone.
    pub only_here: Vec<usize>,
    /// The channels that go in the other alone.
    pub only_there: Vec<usize>,
}

impl Plan {
    /// A row for every layer of which this plan and another remove different channels, in the order of the layers' numbers, and
    /// one for every residual branch that only one of them removes and every tensor that they mask differently.
    pub fn diff(&self, other: &Self) -> Vec<DiffRow> {
        let mut names: Vec<&str> = self.layers.keys().chain(other.layers.keys()).map(String::as_str).collect();
        let keys: HashMap<&str, Vec<(usize, &str)>> = names.iter().map(|&name| (name, numbered(name))).collect();
        names.sort_by(|a, b| keys[a].cmp(&keys[b]));
        names.dedup();
        let row = |layer: &str| {
            let [here, there] = [self, other].map(|plan| {
                plan.layers.get(layer).map_or(BTreeSet::new(), |layer| layer.remove.iter().copied().collect())
            });
            let only = |a: &BTreeSet<usize>, b: &BTreeSet<usize>| a.difference(b).copied().collect::<Vec<usize>>();
            let channels = [self, other].into_iter().filter_map(|plan| Some(plan.layers.get(layer)?.channels)).max();
            DiffRow {
                layer: layer.to_owned(),
                channels: channels.unwrap_or(0),
                go: [here.len(), there.len()],
                both: here.intersection(&there).count(),
                only_here: only(&here, &there),
                only_there: only(&there, &here),
            }
        };
        let branches = self.branches.symmetric_difference(&other.branches).map(|branch| {
            let (here, there) = (self.branches.contains(branch), other.branches.contains(branch));
            let all = |goes: bool| if goes { vec![0] } else { Vec::new() };
            let go = [usize::from(here), usize::from(there)];
            DiffRow { layer: branch.clone(), channels: 1, go, both: 0, only_here: all(here), only_there: all(there) }
        });
        names
            .into_iter()
            .map(row)
            .chain(branches)
            .filter(|row| !row.only_here.is_empty() || !row.only_there.is_empty())
            .collect()
    }
}

/// A name by which `model.9` comes before `model.10`.
fn numbered(name: &str) -> Vec<(usize, &str)> {
    name.split('.').map(|part| (part.parse().unwrap_or(usize::MAX), part)).collect()
}
