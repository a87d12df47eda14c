//! Which weights go.

use std::collections::BTreeMap;

use super::{
    super::{criteria::WeightScores, error::PruneError, ranking::Scope},
    plan::MaskPlan,
    rule::{MaskAmount, Rule},
    tiling::Tiling,
    unit::Unit,
};
use crate::model::Model;

/// The weights of one layer while it is decided which go.
struct Layer<'a> {
    scores: &'a WeightScores,
    tiling: Tiling,
    /// The weights.
    values: Vec<f32>,
    /// Those that go.
    gone: Vec<bool>,
}

/// Which weights go, by the name of their tensor; layers that are ignored, or that the units do not divide, are not in it.
/// Of as many units as `ratio` says, those of the lowest scores; of equal ones the first. What is zero
/// already, held by a mask or not, goes before all others. A layer keeps at least one unit, unless all were zero before.
///
/// # Errors
/// Where tensors cannot be read.
pub fn select(model: &Model, scores: &[WeightScores], rule: &Rule) -> Result<BTreeMap<String, MaskPlan>, PruneError> {
    let mut layers = Vec::new();
    for scores in scores {
        if rule.ignores(&model.graph().node(scores.node).name) {
            continue;
        }
        let Some(tiling) = Tiling::new(scores.shape, rule.unit) else { continue };
        let values = model.tensors()[&scores.name].flatten_all()?.to_vec1::<f32>()?;
        layers.push(Layer { scores, tiling, gone: vec![false; values.len()], values });
    }
    match (rule.amount, rule.unit) {
        (MaskAmount::Pattern, Unit::NM { n, m }) => layers.iter_mut().for_each(|layer| layer.keep(n, m)),
        (MaskAmount::Below(threshold), _) => layers.iter_mut().for_each(|layer| layer.below(threshold)),
        (MaskAmount::Ratio(ratio), _) => match rule.scope {
            Scope::Local => layers.iter_mut().for_each(|layer| lowest(std::slice::from_mut(layer), ratio)),
            Scope::Global => lowest(&mut layers, ratio),
        },
        (MaskAmount::Pattern, Unit::Weight | Unit::Block { .. }) => {}
    }
    let plan = |layer: Layer| (layer.scores.name.clone(), MaskPlan::new(&layer.scores.shape, &layer.gone));
    Ok(layers.into_iter().map(plan).collect())
}

impl Layer<'_> {
    /// The score of a weight; what is zero already goes before all others.
    fn score(&self, at: usize) -> f64 {
        if self.values[at] == 0.0 { f64::NEG_INFINITY } else { f64::from(self.scores.scores[at]) }
    }

    fn go(&mut self, unit: usize) {
        self.tiling.weights(unit).for_each(|at| self.gone[at] = true);
    }

    /// Of every box of `m` weights, those of the lowest scores go, so that `n` stay.
    fn keep(&mut self, n: usize, m: usize) {
        for unit in 0..self.tiling.count() {
            let mut order: Vec<usize> = self.tiling.weights(unit).collect();
            order.sort_by(|&a, &b| self.score(a).total_cmp(&self.score(b)));
            order[..m - n].iter().for_each(|&at| self.gone[at] = true);
        }
    }

    /// Boxes all of whose weights are below a magnitude go.
    fn below(&mut self, threshold: f64) {
        for unit in 0..self.tiling.count() {
            let small = |at: usize| f64::from(self.values[at].abs()) < threshold;
            if self.tiling.weights(unit).all(small) {
                self.go(unit);
            }
        }
    }

    /// The mean score of every box, lowest for those that are zero already.
    fn boxes(&self) -> impl Iterator<Item = f64> {
        (0..self.tiling.count()).map(|unit| {
            if self.tiling.weights(unit).all(|at| self.values[at] == 0.0) {
                return f64::NEG_INFINITY;
            }
            let sum: f64 = self.tiling.weights(unit).map(|at| f64::from(self.scores.scores[at])).sum();
            sum / self.tiling.size() as f64
        })
    }
}

/// Of all boxes of these layers, this share goes: those of the lowest scores.
fn lowest(layers: &mut [Layer], ratio: f64) {
    let mut order: Vec<(f64, usize, usize)> = Vec::new();
    let mut count = 0;
    for (index, layer) in layers.iter().enumerate() {
        let start = order.len();
        order.extend(layer.boxes().enumerate().map(|(unit, score)| (score, index, unit)));
        count += order.len() - start;
        // The best of the layer stays, the first of equal ones.
        let best = (start..order.len()).rev().max_by(|&a, &b| order[a].0.total_cmp(&order[b].0));
        if let Some(best) = best.filter(|&best| order[best].0 > f64::NEG_INFINITY) {
            order.swap_remove(best);
        }
    }
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let asked = (ratio * count as f64).round() as usize;
    for (_, layer, unit) in order.into_iter().take(asked) {
        layers[layer].go(unit);
    }
}
