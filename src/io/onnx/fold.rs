//! Folds normalisations into the convolutions before them.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor};

use crate::graph::{BatchNorm, Conv, Graph, Node, NodeId, Op, Role};
use crate::model::{Model, ModelError, Tensors};

/// The same network with fewer nodes: every normalisation that alone reads a convolution is multiplied into its filters.
/// With `half`, numbers are rounded to those that 16 bits hold.
///
/// # Errors
/// Where tensors cannot be computed, or have numbers that 16 bits do not hold.
pub(super) fn folded(model: &Model, half: bool) -> std::result::Result<Model, ModelError> {
    let source = model.graph();
    let norms: HashMap<NodeId, (NodeId, BatchNorm)> =
        source.owners(Role::Weight).filter_map(|conv| Some((conv, norm_of(source, conv)?))).collect();
    let folded: HashMap<NodeId, NodeId> = norms.iter().map(|(&conv, &(norm, _))| (norm, conv)).collect();
    let mut graph = Graph::new();
    let mut tensors = Tensors::new();
    let mut places: Vec<NodeId> = Vec::with_capacity(source.nodes().len());
    for (id, node) in source.nodes().iter().enumerate() {
        if let Some(conv) = folded.get(&id) {
            places.push(places[*conv]);
            continue;
        }
        let inputs: Vec<NodeId> = node.inputs.iter().map(|&input| places[input]).collect();
        let op = match (&node.op, norms.get(&id)) {
            (Op::Conv(conv), Some((norm, op))) => {
                let (weight, bias) = multiplied(model, (node, conv), (source.node(*norm), op))?;
                tensors.insert(node.tensor_name("weight"), weight);
                tensors.insert(node.tensor_name("bias"), bias);
                Op::Conv(Conv { bias: true, ..*conv })
            }
            (op, _) => {
                let owned = op.parameters().into_iter().map(|parameter| node.tensor_name(parameter.suffix));
                tensors.extend(owned.map(|name| (name.clone(), model.tensors()[&name].clone())));
                op.clone()
            }
        };
        places.push(graph.add(node.name.clone(), op, &inputs));
    }
    graph.set_outputs(source.outputs().iter().map(|&output| places[output]).collect());
    if half {
        for (name, tensor) in &mut tensors {
            *tensor = rounded(tensor)?.ok_or_else(|| {
                ModelError::Detector(format!(
                    "tensor `{name}` has numbers beyond 65504, the largest of 16 bits; export without half"
                ))
            })?;
        }
    }
    Model::new(graph, tensors, model.detector().clone(), model.provenance().clone())
}

/// The normalisation that alone reads a convolution.
fn norm_of(graph: &Graph, conv: NodeId) -> Option<(NodeId, BatchNorm)> {
    let norm = graph.sole_reader(conv)?;
    if let Op::BatchNorm(op) = &graph.node(norm).op { Some((norm, *op)) } else { None }
}

/// Filters and bias of a convolution with those of its normalisation: with the scale s = γ / √(variance + ε), w·s and
/// (b − mean)·s + β.
fn multiplied(
    model: &Model,
    (conv, of_conv): (&Node, &Conv),
    (norm, of_norm): (&Node, &BatchNorm),
) -> Result<(Tensor, Tensor)> {
    let owned = |node: &Node, suffix: &str| model.tensors()[&node.tensor_name(suffix)].to_dtype(DType::F64);
    let scale = (owned(norm, "weight")? / (owned(norm, "running_var")? + of_norm.eps)?.sqrt()?)?;
    let bias = match of_conv.bias {
        true => owned(conv, "bias")?,
        false => owned(norm, "bias")?.zeros_like()?,
    };
    let bias = (((bias - owned(norm, "running_mean")?)? * &scale)? + owned(norm, "bias")?)?;
    let weight = owned(conv, "weight")?.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
    Ok((weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?))
}

/// The nearest numbers of 16 bits; none, where one is too large.
fn rounded(tensor: &Tensor) -> Result<Option<Tensor>> {
    let rounded = tensor.to_dtype(DType::F16)?.to_dtype(DType::F32)?;
    let largest: f32 = rounded.abs()?.flatten_all()?.max(0)?.to_scalar()?;
    Ok(largest.is_finite().then_some(rounded))
}
