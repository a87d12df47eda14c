//! The list of criteria.

use std::sync::LazyLock;

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    activation::Activation,
    bn_scale::BnScale,
    contribution::Contribution,
    criterion::{About, Criterion},
    fisher::Fisher,
    fpgm::Fpgm,
    gradient::Gradient,
    group_l2::GroupL2,
    input_sensitivity::InputSensitivity,
    l1::L1,
    l2::L2,
    lamp::Lamp,
    magnitude::Magnitude,
    movement::Movement,
    random::Random,
    residual::Residual,
    response::Response,
    taylor::Taylor,
    wanda::Wanda,
    zero_rate::ZeroRate,
};
use crate::nearest::did_you_mean;

/// Every criterion, in the order of the tables. The first that judges at a granularity is the default there, and the first
/// of a strategy the default of that strategy.
pub static CRITERIA: &[&dyn Criterion] = &[
    &GroupL2,
    &L2,
    &L1,
    &Fpgm,
    &Response,
    &BnScale,
    &Contribution,
    &Activation,
    &Residual,
    &Magnitude,
    &Lamp,
    &Wanda,
    &Taylor,
    &Fisher,
    &Gradient,
    &InputSensitivity,
    &Movement,
    &ZeroRate,
    &Random,
];

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

/// The criterion that options ask for at a granularity: the one named, or the default there, of a strategy if one is given.
///
/// # Errors
/// An unknown name, a criterion that does not judge at that granularity or is of another strategy, or a strategy without any
/// criterion there; each names those that there are.
pub fn criterion_for(
    granularity: Granularity,
    name: Option<&str>,
    strategy: Option<Strategy>,
) -> Result<&'static dyn Criterion, PruneError> {
    let Some(name) = name else { return default_criterion(granularity, strategy) };
    let found = criterion(name)?;
    let about = found.about();
    judges(&about, granularity)?;
    match strategy {
        Some(strategy) if strategy != about.strategy => {
            let allowed = names_at(granularity, Some(strategy));
            Err(PruneError::OtherStrategy { importance: about.name, own: about.strategy, strategy, allowed })
        }
        _ => Ok(found),
    }
}

/// Checks that a criterion judges at a granularity.
///
/// # Errors
/// Where it doesn't: names where it does, which do, and which is nearest.
pub fn judges(about: &About, granularity: Granularity) -> Result<(), PruneError> {
    about.form(granularity).map(|_| ()).ok_or_else(|| not_at(about, granularity))
}

/// The default at a granularity, and of a strategy if one is given.
///
/// # Errors
/// Where there is none.
pub fn default_criterion(
    granularity: Granularity,
    strategy: Option<Strategy>,
) -> Result<&'static dyn Criterion, PruneError> {
    let found = at(granularity, strategy).next();
    found.ok_or_else(|| PruneError::NoCriterion { granularity, strategy, allowed: names_at(granularity, None) })
}

/// The error that a criterion does not judge at a granularity: where it does, which do, and which is nearest.
fn not_at(about: &About, granularity: Granularity) -> PruneError {
    let own = about.forms.iter().map(|form| form.names()).collect::<Vec<_>>().join(", ");
    let mut alike = at(granularity, Some(about.strategy)).map(|criterion| criterion.about().name);
    let named = did_you_mean(about.name, at(granularity, None).map(|criterion| criterion.about().name));
    let nearest = match alike.next() {
        Some(alike) if named.is_empty() => format!("; of its strategy, {}, the default is {alike}", about.strategy),
        _ => named,
    };
    PruneError::NotAt { importance: about.name, granularity, own, allowed: names_at(granularity, None), nearest }
}

fn at(granularity: Granularity, strategy: Option<Strategy>) -> impl Iterator<Item = &'static dyn Criterion> {
    let fits = move |criterion: &&dyn Criterion| {
        let about = criterion.about();
        about.form(granularity).is_some() && strategy.is_none_or(|strategy| strategy == about.strategy)
    };
    CRITERIA.iter().copied().filter(fits)
}

fn names_at(granularity: Granularity, strategy: Option<Strategy>) -> String {
    let names: Vec<&str> = at(granularity, strategy).map(|criterion| criterion.about().name).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
