//! What criteria go by.

use crate::options::option_names;

/// What a criterion goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// How large weights, or what flows through them, are.
    Importance,
    /// How much a loss, or what the network gives, would change.
    Sensitivity,
    /// How many of them are zero, or nearly so.
    Sparsity,
    /// Nothing: what every other criterion must beat.
    Control,
}
option_names!(Strategy, "strategy":
    Importance = "importance", Sensitivity = "sensitivity", Sparsity = "sparsity", Control = "control");
