//! What masks do, layer by layer.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    super::{criteria::WeightScores, error::PruneError},
    hold::check,
    plan::MaskPlan,
    rule::Rule,
    tiling::Tiling,
};
use crate::{
    graph::Role,
    model::{Model, Statistics},
};

/// What the masks of a plan do to the weight of one convolution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskRow {
    /// Name of the convolution.
    pub layer: String,
    /// Its weights.
    pub weights: u64,
    /// Weights that are exactly zero once the plan is applied; none where the plan has no mask for the layer.
    pub zeros: Option<u64>,
    /// Share of its weights that are exactly zero as it is.
    pub zeros_before: f64,
    /// Share of its weights that are nearly zero as it is: see [`NEAR_ZERO`](crate::model::NEAR_ZERO).
    pub near_zeros: f64,
}

/// What the scores of the weights of one convolution are like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskScoreRow {
    /// Name of the convolution.
    pub layer: String,
    /// Its weights.
    pub weights: u64,
    /// How many units go or stay as a whole; none where they do not divide the layer, which then stays whole.
    pub units: Option<u64>,
    /// Least score of a weight, first quartile, median, third quartile, largest.
    pub scores: [f64; 5],
    /// Whether the layer is ignored.
    pub ignored: bool,
}

/// A row for every convolution.
///
/// # Errors
/// Where the masks are of another model.
pub fn mask_rows(model: &Model, plan: &BTreeMap<String, MaskPlan>) -> Result<Vec<MaskRow>, PruneError> {
    plan.iter().try_for_each(|(name, plan)| check(model, name, plan).map(|_| ()))?;
    let weights = model.graph().parameters().filter(|(_, _, parameter)| parameter.role == Role::Weight);
    let row = |(id, name): (usize, String)| {
        let values = model.tensors()[&name].flatten_all()?.to_vec1::<f32>()?;
        let zeros = |plan: &MaskPlan| {
            let held = check(model, &name, plan)?;
            Ok::<_, PruneError>(held.iter().zip(&values).filter(|(held, value)| **held || **value == 0.0).count() as u64)
        };
        let found = Statistics::of(&values);
        Ok(MaskRow {
            layer: model.graph().node(id).name.clone(),
            weights: found.count,
            zeros: plan.get(&name).map(zeros).transpose()?,
            zeros_before: found.zeros,
            near_zeros: found.near_zeros,
        })
    };
    weights.map(|(id, name, _)| row((id, name))).collect()
}

/// A row for every convolution that was scored.
pub fn score_rows(model: &Model, scores: &[WeightScores], rule: &Rule) -> Vec<MaskScoreRow> {
    let row = |found: &WeightScores| {
        let mut sorted = found.scores.clone();
        sorted.sort_by(f32::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let quartile = |quarter: usize| sorted.get(last * quarter / 4).copied().map_or(f64::NAN, f64::from);
        let layer = model.graph().node(found.node).name.clone();
        MaskScoreRow {
            weights: sorted.len() as u64,
            units: Tiling::new(found.shape, rule.unit).map(|tiling| tiling.count() as u64),
            scores: [0, 1, 2, 3, 4].map(quartile),
            ignored: rule.ignores(&layer),
            layer,
        }
    };
    scores.iter().map(row).collect()
}
