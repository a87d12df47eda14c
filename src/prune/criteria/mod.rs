//! The criteria: what scores coupled channels, so that the least important go first.
//!
//! Scoring takes three steps, each a file. A [`Criterion`] scores units: filters, normalisation channels, what flows
//! through. [`Reduce`] joins the units of each coupled channel. `ranking.rs`, beside this folder, makes the groups comparable.
//! A criterion is one file and one line of [`CRITERIA`], from which options, completion, help and the README's table come.

mod activations;
mod bn_scale;
mod context;
mod contribution;
mod criterion;
mod group_l2;
mod l1;
mod l2;
mod list;
mod measure;
mod moments;
mod needs;
mod random;
mod reduce;
mod residual;
mod score;
mod taylor;
mod zero_rate;

pub use activations::ChannelActivations;
pub use context::{Context, Part, WeightScores};
pub use criterion::{About, Criterion, Form, Strategy};
pub use list::{CRITERIA, criterion, criterion_for, criterion_names, default_criterion};
pub(super) use measure::measure;
pub use measure::{Measured, PruneData};
pub use needs::{Data, Needs};
pub use reduce::Reduce;
pub use score::{Scores, branch_scores, channel_scores, score, weight_scores};
