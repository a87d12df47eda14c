//! Pruning by masks: weights are held at zero and shapes stay. On CPUs like those that Espalier runs on this saves no time,
//! only compressed size.
//!
//! A [`Unit`] is what goes at once, a [`Tiling`](tiling::Tiling) where the units of a tensor lie, [`select`](select::select)
//! says which go, a [`MaskPlan`] keeps that in a plan, and [`hold`](hold::hold) applies it.

mod hold;
mod plan;
mod report;
mod rule;
mod select;
mod tiling;
mod unit;

pub(super) use hold::{hold, sparsity_step};
pub use plan::MaskPlan;
pub use report::{MaskRow, MaskScoreRow};
pub(super) use report::{mask_rows, score_rows};
pub(super) use rule::Rule;
pub(super) use select::select;
pub use unit::Unit;

#[cfg(test)]
mod tests;
