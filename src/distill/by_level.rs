//! Terms that are a sum over pairs of features, in candle's operations.

use std::sync::Arc;

use candle_core::Tensor;

use super::{
    adapters::Adapters, error::DistillError, features::FeaturePair, pair::Pair, part::part_name, recipe::Features,
};
use crate::{
    exec::Values,
    model::Tensors,
    train::{Autograd, Leaves, Term, TermError},
};

/// The term `weight` · Σ `distance`(leaves, teacher's values, level) over the levels; `distance` gives one number.
pub(super) fn sum_over<F>(
    pair: &Pair<'_>,
    part: &'static str,
    levels: &[FeaturePair],
    weight: f32,
    own: Tensors,
    distance: F,
) -> Arc<dyn Term>
where
    F: Fn(&Leaves<'_>, &Values, usize) -> Result<Tensor, TermError> + Send + Sync + 'static,
{
    let (teacher, count) = (Arc::clone(&pair.teacher), levels.len());
    let taps: Vec<_> = levels.iter().map(|level| level.student).collect();
    let term = Autograd::new(part_name(part), move |leaves| {
        let wanted = leaves.input().run(&teacher)?;
        let distances = (0..count).map(|level| Ok(distance(leaves, &wanted, level)?.reshape(())?));
        let distances = distances.collect::<Result<Vec<_>, TermError>>()?;
        Ok((Tensor::stack(&distances, 0)?.sum_all()? * f64::from(weight))?)
    });
    Arc::new(term.taps(&taps).tensors(own))
}

/// The same for features as they are, of any widths: `distance`(student's, teacher's).
pub(super) fn sum_over_features<F>(
    pair: &Pair<'_>,
    part: &'static str,
    levels: &[FeaturePair],
    weight: f32,
    distance: F,
) -> Arc<dyn Term>
where
    F: Fn([&Tensor; 2]) -> Result<Tensor, TermError> + Send + Sync + 'static,
{
    let nodes = levels.to_vec();
    sum_over(pair, part, levels, weight, Tensors::new(), move |leaves, wanted, level| {
        let level = &nodes[level];
        distance([&leaves.tap(level.student)?, &wanted.taps[&level.teacher]])
    })
}

/// The same for features at the teacher's width: `distance`(student's, teacher's, level, leaves).
pub(super) fn sum_over_adapted<F>(
    pair: &Pair<'_>,
    part: &'static str,
    (options, levels): (&Features, &[FeaturePair]),
    weight: f32,
    distance: F,
) -> Result<Arc<dyn Term>, DistillError>
where
    F: Fn([Tensor; 2], usize, &Leaves<'_>, &Values) -> Result<Tensor, TermError> + Send + Sync + 'static,
{
    let adapters = Adapters::new(part, options.adapter, pair, levels)?;
    let own = adapters.tensors(pair.options.seed)?;
    Ok(sum_over(pair, part, levels, weight, own, move |leaves, wanted, level| {
        distance(adapters.pair(leaves, wanted, level)?, level, leaves, wanted)
    }))
}
