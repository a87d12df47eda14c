//! What the user asks of pruning.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{PruneError, groups::Groups};
use crate::{
    graph::{Graph, Role},
    nearest::did_you_mean,
};

/// How a coupled channel's importance is measured; low goes first. Sums run over the convolutions (or normalisations)
/// that its channels come from, since a residual stage has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Importance {
    /// Σ |w| over its filters (Li et al. 2017, Pruning Filters for Efficient ConvNets).
    L1,
    /// √Σ w² over its filters (He et al. 2018, Soft Filter Pruning).
    L2,
    /// Σ |γ| over its normalisations (Liu et al. 2017, Network Slimming).
    BnScale,
    /// √Σ w² over all that goes with it: filters and the readers' columns (Fang et al. 2023, DepGraph).
    #[default]
    GroupNorm,
    /// How much of the variance that the readers of its channels see comes from them; the activations' variance
    /// follows from the normalisations' scales and shifts. Since it has no unit, layers compare without being normalised.
    Contribution,
    /// Uniform noise from the seed: what every other criterion has to beat.
    Random,
}

/// Which coupled channels compete with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every group loses the same share of its channels.
    #[default]
    Local,
    /// All groups compete by score, each divided by the group's mean, so that layers of different scale compare.
    Global,
}

/// How much is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Share of the prunable coupled channels that goes.
    Ratio(f64),
    /// Share of the network's MACs that stays.
    Macs(f64),
    /// Share of the network's parameters that stays.
    Params(f64),
}

/// What is asked of a [`Pruner`](super::Pruner). Names that a file or script leaves out take these defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneOptions {
    /// How coupled channels are scored.
    pub importance: Importance,
    /// Which coupled channels compete.
    pub scope: Scope,
    /// How much goes; by default half of the MACs stay.
    pub amount: Amount,
    /// Side of the square images that MACs are counted for, in pixels; 640.
    pub size: usize,
    /// Groups keep a multiple of this many channels (or all of theirs); 1.
    pub round_to: usize,
    /// Groups never keep fewer channels, unless they have fewer; 4.
    pub min_channels: usize,
    /// Largest share of its channels that a group may lose, 0 to 1; 0.75. A ranking of all groups would otherwise
    /// empty narrow early layers.
    pub max_ratio: f64,
    /// Glob patterns of layers whose filters all stay: of full names (`model.*.cv3.conv`) or of the modules that hold
    /// them (`model.24`, `model.*.m`).
    pub ignore: Vec<String>,
    /// Seed of [`Importance::Random`].
    pub seed: u64,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            importance: Importance::default(),
            scope: Scope::default(),
            amount: Amount::Macs(0.5),
            size: 640,
            round_to: 1,
            min_channels: 4,
            max_ratio: 0.75,
            ignore: Vec::new(),
            seed: 0,
        }
    }
}

impl PruneOptions {
    /// Checks every value's range.
    ///
    /// # Errors
    /// Names the first option that is out of range and what is allowed.
    pub fn validate(&self) -> Result<(), PruneError> {
        let fail = |option: &'static str, allowed: &'static str, found: String| {
            Err(PruneError::Option { option, allowed, found })
        };
        match self.amount {
            Amount::Ratio(share) if !(0.0..1.0).contains(&share) => {
                fail("ratio", "at least 0 and below 1 (the share of channels that goes)", share.to_string())
            }
            Amount::Macs(share) if !(share > 0.0 && share <= 1.0) => {
                fail("macs", "above 0 and at most 1 (the share of MACs that stays)", share.to_string())
            }
            Amount::Params(share) if !(share > 0.0 && share <= 1.0) => {
                fail("params", "above 0 and at most 1 (the share of parameters that stays)", share.to_string())
            }
            _ if self.size == 0 => fail("size", "at least 1 pixel", self.size.to_string()),
            _ if self.round_to == 0 => fail("round_to", "at least 1 channel", self.round_to.to_string()),
            _ if self.min_channels == 0 => fail("min_channels", "at least 1 channel", self.min_channels.to_string()),
            _ if !(0.0..=1.0).contains(&self.max_ratio) => fail("max_ratio", "0 to 1", self.max_ratio.to_string()),
            _ => Ok(()),
        }
    }

    /// For every group, whether a pattern of `ignore` keeps it whole.
    ///
    /// # Errors
    /// A pattern that is none, or that matches no convolution.
    pub(super) fn ignored(&self, graph: &Graph, groups: &Groups) -> Result<Vec<bool>, PruneError> {
        let mut patterns = Vec::new();
        for text in &self.ignore {
            let pattern = glob::Pattern::new(text)
                .map_err(|error| PruneError::Pattern { pattern: text.clone(), reason: error.to_string() })?;
            if !convolutions(graph).any(|layer| covers(&pattern, layer)) {
                return Err(no_such_layer(graph, text));
            }
            patterns.push(pattern);
        }
        let kept = |layer: &usize| patterns.iter().any(|pattern| covers(pattern, &graph.node(*layer).name));
        Ok(groups.all().iter().map(|group| group.producers.iter().any(kept)).collect())
    }
}

/// Whether a pattern matches a layer's name or a module that holds the layer.
fn covers(pattern: &glob::Pattern, layer: &str) -> bool {
    modules(layer).any(|name| pattern.matches(name))
}

/// The modules that hold a layer, outermost first, and the layer itself.
fn modules(layer: &str) -> impl Iterator<Item = &str> {
    layer.match_indices('.').map(|(end, _)| &layer[..end]).chain([layer])
}

/// The error for a name or pattern that fits no convolution.
pub(super) fn no_such_layer(graph: &Graph, name: &str) -> PruneError {
    let hint = did_you_mean(name, convolutions(graph).flat_map(modules));
    PruneError::NoSuchLayer { name: name.to_owned(), hint }
}

fn convolutions(graph: &Graph) -> impl Iterator<Item = &str> {
    graph.nodes().iter().filter(|node| node.op.owns(Role::Weight)).map(|node| node.name.as_str())
}

impl Importance {
    /// Every criterion with the name that scripts use.
    pub const NAMES: [(&str, Importance); 6] = [
        ("l1", Importance::L1),
        ("l2", Importance::L2),
        ("bn_scale", Importance::BnScale),
        ("group_norm", Importance::GroupNorm),
        ("contribution", Importance::Contribution),
        ("random", Importance::Random),
    ];
}

impl Scope {
    /// Every scope with the name that scripts use.
    pub const NAMES: [(&str, Scope); 2] = [("local", Scope::Local), ("global", Scope::Global)];
}

fn by_name<T: Copy>(what: &'static str, names: &[(&str, T)], found: &str) -> Result<T, PruneError> {
    let unknown = || PruneError::Unknown {
        what,
        found: found.to_owned(),
        allowed: names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        hint: did_you_mean(found, names.iter().map(|(name, _)| *name)),
    };
    names.iter().find(|(name, _)| *name == found).map(|&(_, value)| value).ok_or_else(unknown)
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name)
}

impl FromStr for Importance {
    type Err = PruneError;

    fn from_str(name: &str) -> Result<Self, PruneError> {
        by_name("importance", &Self::NAMES, name)
    }
}

impl FromStr for Scope {
    type Err = PruneError;

    fn from_str(name: &str) -> Result<Self, PruneError> {
        by_name("scope", &Self::NAMES, name)
    }
}

impl fmt::Display for Importance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Ratio(share) => write!(f, "ratio {share}"),
            Amount::Macs(share) => write!(f, "macs {share}"),
            Amount::Params(share) => write!(f, "params {share}"),
        }
    }
}

impl fmt::Display for PruneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.scope, self.importance, self.amount)?;
        if self.round_to > 1 {
            write!(f, ", round_to {}", self.round_to)?;
        }
        Ok(())
    }
}
