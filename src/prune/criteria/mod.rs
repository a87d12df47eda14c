//! The criteria: what scores coupled channels, so that the least important go first.
//!
//! Scoring takes three steps, each a file. A [`Criterion`] scores units: filters, normalisation channels, what flows
//! through, or single weights. [`Reduce`] joins the units of each coupled channel. `ranking.rs`, beside this folder, makes the
//! groups comparable. What is [needed](Needs) of images is measured before, in passes that hold one batch.
//! A criterion is one file and one line of [`CRITERIA`], from which options, completion, help and the README's table come.

mod activation;
mod activations;
mod backwards;
mod bn_scale;
mod context;
mod contribution;
mod criterion;
mod fisher;
mod forwards;
mod fpgm;
mod gradient;
mod group_l2;
mod input_sensitivity;
mod l1;
mod l2;
mod labelled;
mod lamp;
mod list;
mod magnitude;
mod measure;
mod measured;
mod moments;
mod movement;
mod needs;
mod own;
mod places;
mod planes;
mod random;
mod reduce;
mod residual;
mod response;
mod score;
mod singles;
mod taylor;
mod wanda;
mod zero_rate;

pub use activations::ChannelActivations;
pub use context::{Context, Part, Weight, WeightScores};
pub use criterion::{About, Criterion, Form};
pub use list::{CRITERIA, criterion, criterion_for, criterion_names, default_criterion, judges};
pub(super) use measure::measure;
pub use measured::{Measured, PruneData};
pub use needs::{Data, Needs};
pub use own::{GroupScores, OwnCriterion};
pub use reduce::Reduce;
pub use score::{Scores, branch_scores, channel_scores, score, weight_scores};
