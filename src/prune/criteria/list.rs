//! The list of criteria.

use std::sync::LazyLock;

use super::{
    super::error::PruneError, bn_scale::BnScale, contribution::Contribution, criterion::Criterion, group_l2::GroupL2,
    l1::L1, l2::L2, random::Random, taylor::Taylor, zero_rate::ZeroRate,
};
use crate::nearest::did_you_mean;

/// Every criterion, in the order of the tables.
pub static CRITERIA: &[&dyn Criterion] = &[&L1, &L2, &BnScale, &GroupL2, &Contribution, &Taylor, &ZeroRate, &Random];

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
