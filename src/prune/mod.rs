//! Structural pruning: groups → scores → plan → apply.
//!
//! [`Groups`] says which channels must go together, [`score`] how important they are, [`Plan`] which go, and [`apply`]
//! removes them physically and exactly. [`Pruner`] does all of it.

mod allocation;
mod apply;
mod cost;
mod criteria;
mod depth;
mod depth_choice;
mod diff;
mod error;
mod explain;
mod gradual;
mod granularity;
mod groups;
mod kept;
mod latency;
mod layers;
mod masks;
mod options;
mod plan;
mod planning;
mod pruner;
mod ranking;
mod recalibrate;
mod refit;
mod removal;
mod report;
mod rows;
mod scan;
mod scan_error;
mod select;
mod stage;
mod strategy;
mod union_find;

pub use apply::{apply, zero};
pub use criteria::{
    About, CRITERIA, ChannelActivations, Context, Criterion, Data, Form, GroupScores, Measured, Needs, OwnCriterion,
    Part, PruneData, Reduce, Scores, Weight, WeightScores, channel_scores, criterion, criterion_for, default_criterion,
    score, weight_scores,
};
pub use depth::{Branch, branches};
pub use diff::DiffRow;
pub use error::PruneError;
pub use explain::{Explanation, Tie, Tied};
pub use gradual::{FineTune, Gradual, GradualOptions, GradualStep, PruneSchedule, TuneError, Tuner, gradual};
pub use granularity::Granularity;
pub use groups::{ChannelId, Group, GroupId, Groups};
pub(crate) use kept::kept_channels;
pub use masks::{MaskPlan, MaskRow, MaskScoreRow, Unit};
pub use options::{Amount, PruneOptions};
pub use plan::{LayerPlan, Plan};
pub use pruner::{BranchScore, Pruner, ScoreRow};
pub use ranking::{Normalize, Order, Per, Scope};
pub use recalibrate::{RecalibrateOptions, recalibrate, recalibrate_on};
pub use refit::{RefitOptions, refit, refit_on};
pub use report::{PlanReport, PlanRow};
pub use rows::{coupled_rows, planned_rows};
pub use scan::{Correlation, Scan, ScanCell, ScanMetric, ScanOptions, ScanRow, ScanUnit, spearman};
pub use scan_error::ScanError;
pub use strategy::Strategy;

#[cfg(test)]
mod amount_tests;
#[cfg(test)]
mod criteria_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod gradual_tests;
#[cfg(test)]
mod mask_tests;
#[cfg(test)]
mod measure_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod refit_tests;
#[cfg(test)]
mod tests;
