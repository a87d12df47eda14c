//! What the user asks of pruning.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    criteria::{Reduce, criterion_names, default_criterion},
    error::PruneError,
    granularity::Granularity,
    groups::Groups,
    layers::Pattern,
    ranking::{Comparison, Normalize, Order, Per, Scope},
    strategy::Strategy,
};
use crate::{
    graph::Graph,
    options::{ByPattern, Field, Kind, OptionError, OptionValue, Options, PerLayer, Spec, Value, options},
};

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
    /// Share of the time of one image that stays, on this machine.
    Latency(f64),
    /// Nothing but what the option `ratios` says of single layers.
    Ratios,
}

options! {
    /// What is asked of a [`Pruner`](super::Pruner). Names that a file or script leaves out take these defaults.
    #[serde(default)]
    pub struct PruneOptions {
        /// What goes as a unit: channel and filter are removed, judged by what flows through or by the filters; weight, n:m
        /// and block are held at zero by masks, which on this CPU save no time, only compressed size.
        pub granularity: Granularity = Granularity::default();
        /// How units are scored, by the name of a criterion; low goes first. That of the strategy and granularity unless
        /// given, of channels group_l2.
        pub importance: Option<String> = None, criterion_names();
        /// What units are scored by; alone it picks its default criterion for the granularity.
        pub strategy: Option<Strategy> = None;
        /// Which coupled channels compete: those of a group, or all.
        pub scope: Scope = Scope::default();
        /// How what is coupled in a channel is joined; as the criterion does it unless given.
        pub reduce: Option<Reduce> = None;
        /// How groups are made comparable with scope global: by their mean score, their largest, places in the order.
        pub normalize: Normalize = Normalize::default();
        /// What scores are divided by with scope global: what goes with the channel.
        pub per: Per = Per::default();
        /// How much goes; by default half of the MACs stay.
        pub amount: Amount = Amount::Macs(0.5);
        /// Share of their channels that single layers lose, by pattern of their names; the most specific pattern counts,
        /// and limits do not. Where an amount is given as well, the other layers make it up, else they stay whole.
        pub ratios: ByPattern<f64> = ByPattern::default(), 0.0..=0.999;
        /// Which units go first: "highest" is a control, "layers" works in gradual pruning alone.
        pub order: Order = Order::default();
        /// Side of the square images that MACs are counted and times are measured for, in pixels.
        pub size: usize = 640, 32..=8192;
        /// Groups keep a multiple of this many channels, or all of theirs.
        pub round_to: usize = 1, 1..=1024;
        /// Groups never keep fewer channels, unless they have fewer. By pattern, the most specific counts.
        pub min_channels: PerLayer<usize> = PerLayer::from(4), 1..=65_536;
        /// Largest share of its channels that a group may lose. A ranking of all groups would otherwise empty narrow
        /// early layers. By pattern, the most specific counts.
        pub max_ratio: PerLayer<f64> = PerLayer::from(0.75), 0.0..=1.0;
        /// Patterns of layers whose filters all stay: of full names (`model.*.cv3.conv`) or of the modules that hold
        /// them (`model.24`, `model.*.m`).
        pub ignore: Vec<String> = Vec::new();
        /// Magnitudes of weights below this count as zero, for zero_rate; 0.001 unless given. With granularity weight or
        /// block instead of ratio: what is below goes.
        pub threshold: Option<f64> = None, 0.0..=1e6;
        /// Of granularity n:m: of every m weights along the input channels of a filter, n stay.
        pub pattern: String = "2:4".into();
        /// Of granularity block: its filters and its input channels; it has all positions of the kernel.
        pub block: Vec<usize> = vec![4, 1], 1..=4096;
        /// Seed of whatever a criterion draws.
        pub seed: u64 = 0;
    }
}

impl Amount {
    /// The option that gives it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Ratios => "ratios",
            Self::Macs(_) => "macs",
            Self::Params(_) => "params",
            Self::Latency(_) => "latency",
            Self::Ratio(_) => "ratio",
        }
    }

    /// The share that stays in the end.
    pub(super) fn stays(self) -> f64 {
        match self {
            Self::Macs(share) | Self::Params(share) | Self::Latency(share) => share,
            Self::Ratio(ratio) => 1.0 - ratio,
            Self::Ratios => 1.0,
        }
    }

    /// The amount where only a share `gone` of all that goes is gone.
    pub(super) fn partly(self, gone: f64) -> Self {
        let stays = |share: f64| 1.0 - (1.0 - share) * gone;
        match self {
            Self::Macs(share) => Self::Macs(stays(share)),
            Self::Params(share) => Self::Params(stays(share)),
            Self::Latency(share) => Self::Latency(stays(share)),
            Self::Ratio(ratio) => Self::Ratio(ratio * gone),
            Self::Ratios => Self::Ratios,
        }
    }

    fn share(self) -> Option<f64> {
        match self {
            Self::Macs(share) | Self::Params(share) | Self::Latency(share) | Self::Ratio(share) => Some(share),
            Self::Ratios => None,
        }
    }

    /// One amount of each kind.
    const KINDS: [fn(f64) -> Self; 4] = [Self::Macs, Self::Params, Self::Latency, Self::Ratio];
}

/// An amount is given as one of four options.
impl Field for Amount {
    type Limits = ();

    fn declare(&self, _: &'static str, _: &'static str, _: Option<()>, specs: &mut Vec<Spec>) {
        let docs = [
            "MACs that stays",
            "parameters that stays",
            "time of one image that stays, as timed on this machine",
            "prunable coupled channels that goes",
        ];
        let ranges = [0.001..=1.0, 0.001..=1.0, 0.05..=1.0, 0.0..=0.999];
        let mut values = Vec::new();
        self.values(&mut values);
        for (((kind, doc), range), default) in Self::KINDS.iter().zip(docs).zip(ranges).zip(values) {
            let doc = format!("Share of the {doc}; macs, params, latency or ratio, one of them");
            specs.push(Spec { key: kind(0.0).key(), kind: Kind::Number(range), default, doc });
        }
    }

    fn values(&self, values: &mut Vec<Option<Value>>) {
        let held = |kind: &fn(f64) -> Self| kind(0.0).key() == self.key();
        values.extend(Self::KINDS.iter().map(|kind| self.share().filter(|_| held(kind)).map(Value::Number)));
    }

    fn assign(&mut self, _: &str, key: &str, value: &Value) -> bool {
        let kind = Self::KINDS.iter().find(|kind| kind(0.0).key() == key);
        kind.zip(f64::read(value)).map(|(kind, share)| *self = kind(share)).is_some()
    }
}

/// The magnitude below which weights count as zero where none is asked for.
const THRESHOLD: f64 = 1e-3;

impl PruneOptions {
    /// The magnitude below which weights count as zero.
    pub fn zero_threshold(&self) -> f64 {
        self.threshold.unwrap_or(THRESHOLD)
    }

    /// How groups are compared.
    ///
    /// # Errors
    /// Where that is asked for although groups don't compete.
    pub(super) fn comparison(&self) -> Result<Comparison, PruneError> {
        let Self { scope, normalize, per, .. } = *self;
        let idle = |key, found: &str| {
            let expected = "its default with scope local, where groups don't compete; ask for scope global";
            Err(OptionError::value(key, expected, found).into())
        };
        match (scope, normalize, per) {
            (Scope::Local, _, Per::Macs | Per::Params) => idle("per", per.name()),
            (Scope::Local, Normalize::Max | Normalize::Rank | Normalize::None, _) => {
                idle("normalize", normalize.name())
            }
            (Scope::Global, _, _) | (Scope::Local, Normalize::Mean, Per::None) => {
                Ok(Comparison { scope, normalize, per })
            }
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

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.share() {
            Some(share) => write!(f, "{} {share}", self.key()),
            None => f.write_str("single layers"),
        }
    }
}

/// What was asked for: scope, importance and amount, then all that differs from the defaults.
impl fmt::Display for PruneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = || default_criterion(self.granularity, self.strategy).map_or("", |found| found.about().name);
        let importance = self.importance.as_deref().unwrap_or_else(default);
        write!(f, "{} {importance}", self.scope)?;
        if !self.granularity.masks() || self.amount != Self::default().amount {
            write!(f, ", {}", self.amount)?;
        }
        let told = Self { importance: None, ..self.clone() };
        let others = Self { scope: Scope::default(), amount: Self::default().amount, ..told }.changes();
        if others.is_empty() { Ok(()) } else { write!(f, ", {others}") }
    }
}
