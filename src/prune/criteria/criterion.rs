//! What a criterion is.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, WeightScores},
    needs::{Data, Needs},
    reduce::Reduce,
};
use crate::model::Model;

/// Scores the units of a model; low goes first. It keeps no state: all that it may look at is in the [`Context`].
pub trait Criterion: Send + Sync {
    /// What is said of it in tables, help and messages.
    fn about(&self) -> About;

    /// What it needs beside the weights at a granularity.
    fn needs(&self, model: &Model, granularity: Granularity) -> Needs {
        let _ = (model, granularity);
        Needs::default()
    }

    /// Scores units for a granularity that removes channels, the one of the context. Each [`Part`] has the units of one
    /// place, such as the filters of one convolution; a coupled channel may have units in several parts.
    ///
    /// # Errors
    /// A granularity at which it does not judge, or a tensor that cannot be read.
    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        Err(not_judged(self.about(), context.granularity))
    }

    /// Scores every number of the weight of every convolution for a granularity of masks, the one of the context.
    ///
    /// # Errors
    /// A granularity at which it does not judge, or a tensor that cannot be read.
    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        Err(not_judged(self.about(), context.granularity))
    }

    /// Scores every residual branch, in the order of [`branches`](super::super::branches), for the granularity that removes
    /// them.
    ///
    /// # Errors
    /// A granularity at which it does not judge, or a tensor that cannot be read.
    fn branches(&self, context: &Context) -> Result<Vec<f64>, PruneError> {
        Err(not_judged(self.about(), context.granularity))
    }

    /// How the units of a coupled channel are joined unless options say.
    fn reduce(&self, granularity: Granularity) -> Reduce {
        let _ = granularity;
        Reduce::Sum
    }

    /// What is done with the joined score, such as the root of a sum of squares.
    fn finish(&self, granularity: Granularity, joined: f64) -> f64 {
        let _ = granularity;
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
    /// What it judges and how: a form for each of its formulas.
    pub forms: &'static [Form],
    /// Where it comes from.
    pub paper: &'static str,
}

/// One of a criterion's formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The granularities that it is of.
    pub granularities: &'static [Granularity],
    /// What its units are, in words; a group without any cannot be scored.
    pub units: &'static str,
    /// What it needs of a dataset.
    pub data: Data,
    /// The score of what goes as a unit.
    pub formula: &'static str,
}

impl About {
    /// What it does at a granularity; none where it does not judge.
    pub fn form(&self, granularity: Granularity) -> Option<&'static Form> {
        self.forms.iter().find(|form| form.granularities.contains(&granularity))
    }
}

fn not_judged(about: About, granularity: Granularity) -> PruneError {
    PruneError::NotJudged { importance: about.name, granularity }
}

impl Form {
    /// The names of its granularities.
    pub fn names(&self) -> String {
        self.granularities.iter().map(|granularity| granularity.name()).collect::<Vec<_>>().join(", ")
    }
}
