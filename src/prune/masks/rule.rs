//! What the options ask of masks, checked.

use super::{
    super::{
        error::PruneError,
        granularity::Granularity,
        layers::Pattern,
        options::{Amount, PruneOptions},
        ranking::{Order, Scope},
    },
    unit::Unit,
};
use crate::{graph::Graph, options::OptionError};

/// What the options ask of masks.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What goes at once.
    pub unit: Unit,
    /// How much goes.
    pub amount: MaskAmount,
    /// Whether units compete within their layer or with all others.
    pub scope: Scope,
    ignore: Vec<Pattern>,
}

/// How much goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskAmount {
    /// This share of the units.
    Ratio(f64),
    /// Units all of whose weights are below this magnitude, whatever they score.
    Below(f64),
    /// What the pattern of the unit says.
    Pattern,
}

impl Rule {
    /// What the options ask of a graph.
    ///
    /// # Errors
    /// An amount that masks do not have, a pattern or a block that is none, a pattern of layers that fits none.
    pub fn of(options: &PruneOptions, graph: &Graph) -> Result<Self, PruneError> {
        check_idle(options)?;
        let ignore = options.ignore.iter().map(|text| Pattern::of(text, graph)).collect::<Result<_, _>>()?;
        Ok(Self { unit: Unit::of(options)?, amount: amount(options)?, scope: options.scope, ignore })
    }

    /// Whether a layer stays as it is because the options say so.
    pub fn ignores(&self, layer: &str) -> bool {
        self.ignore.iter().any(|pattern| pattern.covers(layer))
    }
}

/// Limits are of channels.
fn check_idle(options: &PruneOptions) -> Result<(), PruneError> {
    let default = PruneOptions::default();
    let idle = [
        ("round_to", options.round_to != default.round_to),
        ("min_channels", options.min_channels != default.min_channels),
        ("max_ratio", options.max_ratio != default.max_ratio),
        ("ratios", options.ratios != default.ratios),
    ];
    match idle.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => {
            let expected =
                "nothing beside granularity weight, n:m or block: it is of channels; give ratio, or ignore layers";
            Err(OptionError::value(key, expected, "a value").into())
        }
        None => Ok(()),
    }
}

/// An amount that was not given is the default one, which is of channels.
fn amount(options: &PruneOptions) -> Result<MaskAmount, PruneError> {
    let given = (options.amount != PruneOptions::default().amount).then_some(options.amount);
    match (options.granularity, given, options.threshold) {
        (Granularity::NM, None, _) => Ok(MaskAmount::Pattern),
        (Granularity::NM, Some(amount @ (Amount::Ratio(_) | Amount::Ratios)), _) => {
            let expected = "no amount beside granularity \"n:m\": of every m weights n stay, as pattern says";
            Err(OptionError::value(amount.key(), expected, amount).into())
        }
        (_, Some(Amount::Ratio(ratio)), _) => Ok(MaskAmount::Ratio(ratio)),
        (_, None, Some(_)) if options.order == Order::Highest => {
            let expected = "\"lowest\" beside threshold, below which weights go whatever they score";
            Err(OptionError::value("order", expected, "\"highest\"").into())
        }
        (_, None, Some(threshold)) => Ok(MaskAmount::Below(threshold)),
        (granularity, Some(amount), _) => Err(PruneError::SavesNothing { granularity, found: amount.to_string() }),
        (granularity, None, None) => {
            Err(PruneError::SavesNothing { granularity, found: "the default, a share of the MACs".into() })
        }
    }
}
