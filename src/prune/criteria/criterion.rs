//! What a criterion is.

use super::{
    super::error::PruneError,
    context::{Context, Part},
    needs::{Data, Needs},
    reduce::Reduce,
};
use crate::model::Model;

/// Scores the units of a model; low goes first. It keeps no state: all that it may look at is in the [`Context`].
pub trait Criterion: Send + Sync {
    /// What is said of it in tables, help and messages.
    fn about(&self) -> About;

    /// What it needs beside the weights.
    fn needs(&self, model: &Model) -> Needs {
        let _ = model;
        Needs::default()
    }

    /// Scores units. Each [`Part`] has the units of one place, such as the filters of one convolution; a coupled channel
    /// may have units in several parts.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError>;

    /// How the units of a coupled channel are joined.
    fn reduce(&self) -> Reduce {
        Reduce::Sum
    }

    /// What is done with the joined score, such as the root of a sum of squares.
    fn finish(&self, joined: f64) -> f64 {
        joined
    }
}

impl std::fmt::Debug for dyn Criterion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.about().name)
    }
}

/// What is said of a criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The name that options use.
    pub name: &'static str,
    /// Other names that options accept.
    pub aliases: &'static [&'static str],
    /// What it goes by.
    pub strategy: Strategy,
    /// What its units are, in words; a group without any cannot be scored.
    pub units: &'static str,
    /// The score of a coupled channel.
    pub formula: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// What it needs of a dataset.
    pub data: Data,
}

/// What a criterion goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// How large weights, or what flows through them, are.
    Importance,
    /// How much a loss would change.
    Sensitivity,
    /// How many of them are zero, or nearly so.
    Sparsity,
    /// Nothing: what every other criterion must beat.
    Control,
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Strategy::Importance => "importance",
            Strategy::Sensitivity => "sensitivity",
            Strategy::Sparsity => "sparsity",
            Strategy::Control => "control",
        })
    }
}
