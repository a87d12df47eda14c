//! Applies a plan: graph to graph, tensors to tensors.

use candle_core::{DType, Device, Tensor};

use super::{Plan, PruneError, groups::Groups, plan::Removed};
use crate::{
    exec,
    graph::{Graph, GraphError, Op, Role},
    model::{Model, Tensors},
};

/// A new model without the plan's channels. The model given is not changed.
///
/// # Errors
/// Where the plan does not fit, or the result does not pass its check: graph and tensors must fit together, shapes must
/// be inferable, and one small image must give finite outputs.
pub fn apply(model: &Model, plan: &Plan) -> Result<Model, PruneError> {
    let groups = Groups::of(model.graph())?;
    let removed = plan.removed(model)?;
    let graph = prune_graph(model.graph(), &groups, &removed)?;
    let mut tensors = Tensors::new();
    for (id, name, parameter) in model.graph().parameters() {
        let labels = groups.labels(id);
        let mut tensor = select(&model.tensors()[&name], 0, &removed.kept(labels))?;
        if let (Role::Weight, Op::Conv(conv)) = (parameter.role, &model.graph().node(id).op)
            && conv.groups == 1
        {
            tensor = select(&tensor, 1, &removed.kept(groups.labels(model.graph().node(id).inputs[0])))?;
        }
        tensors.insert(name, tensor);
    }
    let step = step(model, &graph, plan)?;
    let pruned = Model::new(graph, tensors, model.detector().clone(), model.provenance().clone())?.with_step(step);
    check(&pruned)?;
    Ok(pruned)
}

/// The same model with the plan's channels held at zero instead of removed: filters, biases, normalisation scales and
/// shifts. Its outputs are those of [`apply`]'s model, to rounding.
///
/// # Errors
/// Where the plan does not fit.
pub fn zero(model: &Model, plan: &Plan) -> Result<Model, PruneError> {
    let groups = Groups::of(model.graph())?;
    let removed = plan.removed(model)?;
    let mut tensors = model.tensors().clone();
    for (id, name, parameter) in model.graph().parameters() {
        match parameter.role {
            Role::Weight | Role::Bias | Role::NormScale | Role::NormShift => {
                let mask: Vec<f32> =
                    groups.labels(id).iter().map(|&channel| if removed.0[channel] { 0.0 } else { 1.0 }).collect();
                let mut shape = vec![1; parameter.shape.len()];
                shape[0] = mask.len();
                let tensor = &model.tensors()[&name];
                let mask = Tensor::from_vec(mask, shape, tensor.device())?;
                tensors.insert(name, tensor.broadcast_mul(&mask)?);
            }
            Role::RunningMean | Role::RunningVar => {}
        }
    }
    Ok(model.with_tensors(tensors)?)
}

/// The graph with fewer channels.
pub(super) fn prune_graph(graph: &Graph, groups: &Groups, removed: &Removed) -> Result<Graph, GraphError> {
    let kept = |id: usize| removed.kept(groups.labels(id)).len();
    let mut pruned = graph.clone();
    for (id, node) in graph.nodes().iter().enumerate() {
        match pruned.op_mut(id) {
            Op::Conv(conv) => {
                let (reads, gives) = (kept(node.inputs[0]), kept(id));
                if conv.groups > 1 {
                    conv.groups = reads / (conv.in_channels / conv.groups);
                }
                (conv.in_channels, conv.out_channels) = (reads, gives);
            }
            Op::BatchNorm(norm) => norm.channels = kept(id),
            Op::Slice { start, len } => {
                let before = &groups.labels(node.inputs[0])[..*start];
                (*start, *len) = (removed.kept(before).len(), kept(id));
            }
            Op::Input { .. } | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } | Op::Add | Op::Concat => {}
        }
    }
    pruned.validate()?;
    Ok(pruned)
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
    let channels = model.graph().nodes().iter().find_map(|node| match node.op {
        Op::Input { channels } => Some(channels),
        _ => None,
    });
    let Some(channels) = channels else { return Err(PruneError::Check("the graph has no input".into())) };
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
