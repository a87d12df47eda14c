//! Scores of coupled channels.

use candle_core::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Importance, PruneError, Scope,
    groups::{Group, Groups},
    moments::moments,
    options::no_such_layer,
};
use crate::{
    graph::{Op, Reader, Role},
    model::Model,
};

/// A score for every coupled channel, by group and index there.
pub type Scores = Vec<Vec<f64>>;

/// Scores every group's coupled channels; see [`Importance`] for the formulas.
///
/// # Errors
/// Where a group has nothing that the criterion could look at, or a tensor cannot be read.
pub fn score(model: &Model, groups: &Groups, importance: Importance, seed: u64) -> Result<Scores, PruneError> {
    let per_group = |total: &[f64], finish: fn(f64) -> f64| -> Scores {
        let of = |group: &Group| group.coupled.iter().map(|&channel| finish(total[channel])).collect();
        groups.all().iter().map(of).collect()
    };
    match importance {
        Importance::L1 => Ok(per_group(&rows(model, groups, Role::Weight, f64::abs)?, |sum| sum)),
        Importance::L2 => Ok(per_group(&rows(model, groups, Role::Weight, |w| w * w)?, f64::sqrt)),
        Importance::BnScale => {
            if let Some(group) = groups.all().iter().find(|group| group.norms.is_empty()) {
                return Err(PruneError::NoNorm { layer: model.graph().node(group.layer).name.clone() });
            }
            Ok(per_group(&rows(model, groups, Role::NormScale, f64::abs)?, |sum| sum))
        }
        Importance::GroupNorm => {
            let mut total = rows(model, groups, Role::Weight, |w| w * w)?;
            add_columns(model, groups, &mut total)?;
            Ok(per_group(&total, f64::sqrt))
        }
        Importance::Contribution => Ok(per_group(&contributions(model, groups)?, |sum| sum)),
        Importance::Random => {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let of = |group: &Group| group.coupled.iter().map(|_| random.random::<f64>()).collect();
            Ok(groups.all().iter().map(of).collect())
        }
    }
}

/// A function of one number.
type Scalar = fn(f64) -> f64;

/// What every filter of one convolution, or channel of one normalisation, scores by itself: L1, L2 or |γ|, not summed
/// over what it is coupled to.
///
/// # Errors
/// Where there is no such layer, or the criterion does not look at layers of its kind.
pub fn filter_scores(model: &Model, layer: &str, importance: Importance) -> Result<Vec<f64>, PruneError> {
    let id = model.graph().find(layer).ok_or_else(|| no_such_layer(model.graph(), layer))?;
    let op = &model.graph().node(id).op;
    let measure: (Scalar, Scalar) = match (importance, op) {
        (Importance::L1, Op::Conv(_)) | (Importance::BnScale, Op::BatchNorm(_)) => (f64::abs, |sum| sum),
        (Importance::L2, Op::Conv(_)) => (|w| w * w, f64::sqrt),
        _ => {
            let (layer, kind) = (layer.to_owned(), op.kind());
            return Err(PruneError::NotScored { layer, kind, importance });
        }
    };
    let sums = by_filter(&model.tensors()[&model.graph().node(id).tensor_name("weight")], measure.0)?;
    Ok(sums.into_iter().map(measure.1).collect())
}

/// What every filter of a tensor scores: the sum of `measure` over all that has the same first index.
fn by_filter(tensor: &Tensor, measure: Scalar) -> Result<Vec<f64>, PruneError> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let filter = values.len() / tensor.dim(0)?.max(1);
    Ok(values.chunks_exact(filter.max(1)).map(|row| row.iter().map(|&w| measure(f64::from(w))).sum()).collect())
}

/// For every coupled channel, the sum of `measure` over the rows it has in parameters of this role.
fn rows(model: &Model, groups: &Groups, role: Role, measure: Scalar) -> Result<Vec<f64>, PruneError> {
    let mut total = vec![0.0; groups.count()];
    for (id, name, parameter) in model.graph().parameters() {
        if parameter.role == role {
            let filters = by_filter(&model.tensors()[&name], measure)?;
            groups.labels(id).iter().zip(filters).for_each(|(&channel, score)| total[channel] += score);
        }
    }
    Ok(total)
}

/// Adds to every coupled channel Σ w² over the columns in which ungrouped convolutions read its channels.
fn add_columns(model: &Model, groups: &Groups, total: &mut [f64]) -> Result<(), PruneError> {
    for reader in model.graph().readers() {
        let columns = model.tensors()[&reader.name].transpose(0, reader.axis)?;
        let scores = by_filter(&columns, |w| w * w)?;
        groups.labels(reader.input).iter().zip(scores).for_each(|(&channel, score)| total[channel] += score);
    }
    Ok(())
}

/// For every coupled channel, what its channels contribute to the convolutions that read them: for a channel c and a reader of n
/// filters, (1/n) Σⱼ Σₖ w²(j,c,k) · Var[c] / Var[j], summed over readers.
fn contributions(model: &Model, groups: &Groups) -> Result<Vec<f64>, PruneError> {
    let moments = moments(model)?;
    let mut total = vec![0.0; groups.count()];
    for Reader { node: id, input, name, axis: _ } in model.graph().readers() {
        let weight = &model.tensors()[&name];
        let (filters, columns) = (weight.dim(0)?, weight.dim(1)?);
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        let taps = values.len() / (filters * columns).max(1);
        for (place, kernel) in values.chunks_exact(taps.max(1)).enumerate() {
            let (row, column) = (place / columns, place % columns);
            let energy: f64 = kernel.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
            let share = energy * moments[input][column].variance / moments[id][row].variance.max(1e-12);
            total[groups.labels(input)[column]] += share / filters as f64;
        }
    }
    Ok(total)
}

/// The keys by which coupled channels are ordered for removal, lowest first: within a group in the order of their scores.
/// Locally the index in that order as a share, globally the score divided by the group's mean.
pub(super) fn ranking(scores: &Scores, scope: Scope) -> Vec<Vec<(f64, usize)>> {
    let rank = |group: &Vec<f64>| {
        let mut order: Vec<usize> = (0..group.len()).collect();
        order.sort_by(|&a, &b| group[a].total_cmp(&group[b]).then(a.cmp(&b)));
        let mean = group.iter().sum::<f64>() / group.len() as f64;
        let key = |(place, channel): (usize, usize)| match scope {
            Scope::Local => ((place as f64 + 0.5) / group.len() as f64, channel),
            Scope::Global if mean > 0.0 => (group[channel] / mean, channel),
            Scope::Global => (0.0, channel),
        };
        order.into_iter().enumerate().map(key).collect()
    };
    scores.iter().map(rank).collect()
}
