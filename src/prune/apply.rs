//! Applies a plan: graph to graph, tensors to tensors.

use candle_core::{DType, Device, Tensor};

use super::{
    depth,
    error::PruneError,
    groups::{ChannelId, Groups},
    kept::kept_filters,
    masks::{hold, sparsity_step},
    plan::Plan,
    removal::Removal,
};
use crate::{
    exec,
    graph::{Axis, Graph, NodeId},
    model::{Model, Provenance, Tensors},
};

/// A new model without the plan's channels and branches, and with its masks. The model given is not changed.
///
/// # Errors
/// Where the plan does not fit, or the result does not pass its check: graph and tensors must fit together, shapes must
/// be inferable, and one small image must give finite outputs.
pub fn apply(model: &Model, plan: &Plan) -> Result<Model, PruneError> {
    applied(model, plan).map_err(|error| plan.misfit(error))
}

fn applied(model: &Model, plan: &Plan) -> Result<Model, PruneError> {
    let model = &hold(model, &plan.masks)?;
    let groups = Groups::of(model.graph())?;
    let removal = Removal::of(plan, model.graph(), &groups)?;
    let graph = removal.graph(model.graph(), &groups)?;
    let mut tensors = Tensors::new();
    let mut masks = Tensors::new();
    for (id, name, parameter) in model.graph().parameters() {
        let kept: Vec<(usize, Vec<usize>)> = parameter
            .channel_axes(model.graph().node(id).inputs[0], id)
            .into_iter()
            .map(|(axis, value)| (axis, removal.kept(groups.labels(value))))
            .collect();
        let sliced =
            |tensor: &Tensor| kept.iter().try_fold(tensor.clone(), |tensor, (axis, kept)| select(&tensor, *axis, kept));
        if let Some(mask) = model.masks().get(&name) {
            masks.insert(name.clone(), sliced(mask)?);
        }
        let tensor = sliced(&model.tensors()[&name])?;
        tensors.insert(name, tensor);
    }
    let provenance = Provenance { kept: kept_filters(model, &groups, &removal), ..model.provenance().clone() };
    let pruned = Model::new(graph, tensors, model.detector().clone(), provenance)?;
    let pruned = depth::without(&pruned.with_masks(masks)?, &plan.branches)?;
    let step = match plan.masks.is_empty() {
        true => step(model, pruned.graph(), plan)?,
        false => sparsity_step(&pruned, &plan.asked)?,
    };
    let pruned = pruned.with_step(step);
    check(&pruned)?;
    Ok(pruned)
}

/// The same model with the plan's channels and branches held at zero instead of removed: filters, biases, normalisation scales
/// and shifts. Its outputs are those of [`apply`]'s model, to rounding.
///
/// # Errors
/// Where the plan does not fit.
pub fn zero(model: &Model, plan: &Plan) -> Result<Model, PruneError> {
    let zero = || {
        let model = &hold(model, &plan.masks)?;
        let groups = Groups::of(model.graph())?;
        let removal = Removal::of(plan, model.graph(), &groups)?;
        let model = zeroed(model, &groups, |_| true, |channel| removal.removes(channel))?;
        depth::zeroed(&model, &plan.branches)
    };
    zero().map_err(|error| plan.misfit(error))
}

/// The same model with coupled channels held at zero in the layers that `layers` chooses: filters, biases, normalisation
/// scales and shifts.
///
/// # Errors
/// A tensor operation that fails.
pub(super) fn zeroed(
    model: &Model,
    groups: &Groups,
    layers: impl Fn(NodeId) -> bool,
    removes: impl Fn(ChannelId) -> bool,
) -> Result<Model, PruneError> {
    let mut tensors = model.tensors().clone();
    let trained = model.graph().parameters().filter(|(id, _, parameter)| parameter.role.is_trainable() && layers(*id));
    for (id, name, parameter) in trained {
        let factor = |&channel| if removes(channel) { 0.0 } else { 1.0 };
        let factors: Vec<f32> = groups.labels(id).iter().map(factor).collect();
        let axes = parameter.axes.iter().map(|&axis| if axis == Axis::Out { factors.len() } else { 1 });
        let shape: Vec<usize> = axes.collect();
        let tensor = &model.tensors()[&name];
        let factors = Tensor::from_vec(factors, shape, tensor.device())?;
        tensors.insert(name, tensor.broadcast_mul(&factors)?);
    }
    Ok(model.with_tensors(tensors)?)
}

fn select(tensor: &Tensor, dim: usize, kept: &[usize]) -> Result<Tensor, PruneError> {
    if kept.len() == tensor.dim(dim)? {
        return Ok(tensor.clone());
    }
    let index: Vec<u32> = kept.iter().map(|&channel| channel as u32).collect();
    let index = Tensor::from_vec(index, kept.len(), tensor.device())?;
    Ok(tensor.index_select(&index, dim)?)
}

fn step(model: &Model, graph: &Graph, plan: &Plan) -> Result<String, PruneError> {
    let (before, after) = (model.graph().total_cost([plan.size; 2])?, graph.total_cost([plan.size; 2])?);
    let share = |after: u64, before: u64| 100.0 * after as f64 / before.max(1) as f64;
    Ok(format!(
        "pruned ({}): {:.1} % of the MACs at {} px and {:.1} % of the parameters stay",
        plan.asked,
        share(after.macs, before.macs),
        plan.size,
        share(after.params, before.params)
    ))
}

/// Runs one small image of a gradient and looks at what comes out.
fn check(model: &Model) -> Result<(), PruneError> {
    let side = model.max_stride();
    let Some(channels) = model.graph().image_channels() else {
        return Err(PruneError::Check("the graph has no input".into()));
    };
    let count = channels * side * side;
    let ramp = (Tensor::arange(0u32, count as u32, &Device::Cpu)?.to_dtype(DType::F32)? / count as f64)?;
    let image = ramp.reshape((1, channels, side, side))?.to_device(&model.device())?;
    for (output, &id) in exec::infer(model, &image, &[])?.outputs.iter().zip(model.graph().outputs()) {
        if !output.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(PruneError::Check(format!(
                "`{}` gives numbers that are not finite",
                model.graph().node(id).name
            )));
        }
    }
    Ok(())
}
