//! The criteria: what scores coupled channels, so that the least important go first.
//!
//! Scoring takes three steps, each a file. A [`Criterion`] scores units: filters, normalisation channels, what flows
//! through. [`Reduce`] joins the units of each coupled channel. `ranking.rs`, beside this folder, makes the groups comparable.
//! A criterion is one file and one line of [`CRITERIA`], from which options, completion, help and the README's table come.

mod bn_scale;
mod context;
mod contribution;
mod criterion;
mod group_l2;
mod l1;
mod l2;
mod moments;
mod random;
mod reduce;
mod score;

pub use context::Context;
pub use criterion::{About, Criterion, Part, Strategy};
pub use reduce::Reduce;
pub use score::{Scores, channel_scores, score};

use std::sync::LazyLock;

use super::error::PruneError;
use crate::nearest::did_you_mean;

/// Every criterion, in the order of the tables.
pub static CRITERIA: &[&dyn Criterion] =
    &[&l1::L1, &l2::L2, &bn_scale::BnScale, &group_l2::GroupL2, &contribution::Contribution, &random::Random];

/// The name of the criterion that is used where none is asked for.
pub const DEFAULT_CRITERION: &str = "group_l2";

/// Every name by which options know a criterion, its own before former and other names.
pub fn criterion_names() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let names = |criterion: &&dyn Criterion| [&[criterion.about().name], criterion.about().aliases].concat();
        CRITERIA.iter().flat_map(names).collect()
    });
    &NAMES
}

/// The criterion of this name, or of this former or other name.
///
/// # Errors
/// Names those that there are, and the nearest.
pub fn criterion(name: &str) -> Result<&'static dyn Criterion, PruneError> {
    let known =
        |criterion: &&&dyn Criterion| criterion.about().name == name || criterion.about().aliases.contains(&name);
    let names = || CRITERIA.iter().map(|criterion| criterion.about().name);
    CRITERIA.iter().find(known).copied().ok_or_else(|| PruneError::Unknown {
        what: "importance",
        found: name.to_owned(),
        allowed: names().collect::<Vec<_>>().join(", "),
        hint: did_you_mean(name, names()),
    })
}
