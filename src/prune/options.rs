//! What the user asks of pruning.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    criteria::{DEFAULT_CRITERION, criterion},
    error::PruneError,
    groups::Groups,
    layers::Pattern,
};
use crate::{graph::Graph, nearest::did_you_mean, options::OptionError};

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
    /// How coupled channels are scored: the name of one of the [criteria](super::CRITERIA); `group_l2`.
    pub importance: String,
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
    /// Seed of whatever a criterion draws.
    pub seed: u64,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            importance: DEFAULT_CRITERION.to_owned(),
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
            Err(OptionError::value(option, allowed, found).into())
        };
        criterion(&self.importance)?;
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
    /// A pattern that cannot be read, or that matches no convolution.
    pub(super) fn ignored(&self, graph: &Graph, groups: &Groups) -> Result<Vec<bool>, PruneError> {
        let patterns = self.ignore.iter().map(|text| Pattern::of(text, graph)).collect::<Result<Vec<_>, _>>()?;
        let kept = |layer: &usize| patterns.iter().any(|pattern| pattern.covers(&graph.node(*layer).name));
        Ok(groups.all().iter().map(|group| group.producers.iter().any(kept)).collect())
    }
}

impl Scope {
    /// Every scope with the name that scripts use.
    pub const NAMES: [(&str, Scope); 2] = [("local", Scope::Local), ("global", Scope::Global)];
}

impl FromStr for Scope {
    type Err = PruneError;

    fn from_str(name: &str) -> Result<Self, PruneError> {
        let names = || Self::NAMES.iter().map(|(name, _)| *name);
        let found = Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, scope)| scope);
        found.ok_or_else(|| PruneError::Unknown {
            what: "scope",
            found: name.to_owned(),
            allowed: names().collect::<Vec<_>>().join(", "),
            hint: did_you_mean(name, names()),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Local => "local",
            Scope::Global => "global",
        })
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

/// What was asked for: scope, importance and amount, then all that differs from the defaults.
impl fmt::Display for PruneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { importance, scope, amount, size, round_to, min_channels, max_ratio, ignore, seed } = self;
        let default = Self::default();
        write!(f, "{scope} {importance}, {amount}")?;
        let mut told = |differs: bool, name: &str, value: &dyn fmt::Debug| match differs {
            true => write!(f, ", {name} {value:?}"),
            false => Ok(()),
        };
        told(*size != default.size, "size", size)?;
        told(*round_to != default.round_to, "round_to", round_to)?;
        told(*min_channels != default.min_channels, "min_channels", min_channels)?;
        told(*max_ratio != default.max_ratio, "max_ratio", max_ratio)?;
        told(*ignore != default.ignore, "ignore", ignore)?;
        told(*seed != default.seed, "seed", seed)
    }
}
