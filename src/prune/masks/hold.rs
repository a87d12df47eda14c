//! Applies the masks of a plan.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::{super::error::PruneError, plan::MaskPlan};
use crate::model::{Model, Tensors};

/// The model with these weights held at zero, beside those that its masks hold already.
///
/// # Errors
/// Where the masks are of another model: names the tensor.
pub fn hold(model: &Model, plan: &BTreeMap<String, MaskPlan>) -> Result<Model, PruneError> {
    if plan.is_empty() {
        return Ok(model.clone());
    }
    let mut masks: Tensors = model.masks().clone();
    for (name, plan) in plan {
        let held = check(model, name, plan)?;
        let kept: Vec<f32> = held.into_iter().map(|held| if held { 0.0 } else { 1.0 }).collect();
        let mask = Tensor::from_vec(kept, plan.shape.as_slice(), &model.device())?.to_dtype(DType::F32)?;
        let mask = match masks.get(name) {
            Some(before) => (before * mask)?,
            None => mask,
        };
        masks.insert(name.clone(), mask);
    }
    Ok(model.with_masks(masks)?)
}

/// For every weight of a tensor of the model, whether a plan holds it.
///
/// # Errors
/// Where the mask is of another model.
pub(super) fn check(model: &Model, name: &str, plan: &MaskPlan) -> Result<Vec<bool>, PruneError> {
    let misfit = |reason: String| PruneError::Misfit { layer: name.to_owned(), reason };
    let Some(tensor) = model.tensors().get(name) else {
        return Err(misfit(format!(
            "it holds weights of it at zero, but {} has no such tensor",
            model.provenance().name
        )));
    };
    if tensor.dims() != plan.shape {
        let found = tensor.dims();
        return Err(misfit(format!("it holds weights of shape {:?}, this model's tensor has {found:?}", plan.shape)));
    }
    let found = plan.held();
    found.ok_or_else(|| misfit(format!("`held` is not a digit for every four of {} weights", tensor.elem_count())))
}

/// What the history says of a model with masks.
pub fn sparsity_step(model: &Model, asked: &str) -> Result<String, PruneError> {
    Ok(format!("masked ({asked}): {:.1} % of the convolutions' weights are zero", 100.0 * model.sparsity()?))
}
