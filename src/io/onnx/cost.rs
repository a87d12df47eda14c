//! What an ONNX file costs: its weights, and the multiplications of an image.

use std::collections::{HashMap, HashSet};

use candle_core::Tensor;
use half::f16;

use super::engine::shapes;
use super::proto::{ElementType, GraphProto, NodeProto, TensorProto};
use crate::io::onnx_error::OnnxError;
use crate::model::{Accumulator, Statistics};

/// Weights of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Numbers that its convolutions, matrix products and normalisations have: weights, biases, scales and shifts.
    pub count: u64,
    /// What the weights of convolutions are like.
    pub convolutions: Statistics,
}

/// What a node multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    /// Each number of the output is a sum over a filter.
    Filters,
    /// Each number of the input is multiplied with a filter.
    Transposed,
    /// Each number of the output is a sum over the last dimension of the first input.
    Matrix,
}

/// What a node multiplies and which of its inputs is the weight; `None` for one that multiplies no matrices.
fn product(node: &NodeProto) -> Option<(Product, usize)> {
    match node.op_type.as_str() {
        "Conv" | "ConvInteger" => Some((Product::Filters, 1)),
        "QLinearConv" => Some((Product::Filters, 3)),
        "ConvTranspose" => Some((Product::Transposed, 1)),
        "Gemm" | "MatMul" | "MatMulInteger" => Some((Product::Matrix, 1)),
        "QLinearMatMul" => Some((Product::Matrix, 3)),
        _ => None,
    }
}

/// A graph's constants by name, also those that nodes give or only pass on.
struct Constants<'a> {
    tensors: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Constants<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let mut tensors: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        for node in &graph.node {
            let Some(output) = node.output.first() else { continue };
            let tensor = match node.op_type.as_str() {
                "Constant" => node.attribute.iter().find_map(|attribute| attribute.t.as_ref()),
                "Identity" | "Cast" | "DequantizeLinear" => {
                    node.input.first().and_then(|input| tensors.get(input.as_str()).copied())
                }
                _ => None,
            };
            tensors.extend(tensor.map(|tensor| (output.as_str(), tensor)));
        }
        Self { tensors }
    }

    fn get(&self, name: Option<&String>) -> Option<&'a TensorProto> {
        self.tensors.get(name?.as_str()).copied()
    }
}

/// What the weights of a graph are like.
///
/// # Errors
/// For weights that are not as large as they say.
pub(super) fn weights(graph: &GraphProto) -> Result<Weights, OnnxError> {
    let constants = Constants::of(graph);
    let mut seen = HashSet::new();
    let (mut count, mut convolutions) = (0u64, Accumulator::default());
    for node in &graph.node {
        let trained = match (product(node), node.op_type.as_str()) {
            (Some((_, weight)), "QLinearConv") => vec![weight, 8],
            (Some((_, weight)), _) => vec![weight, 2],
            (None, "BatchNormalization") => vec![1, 2],
            (None, _) => continue,
        };
        for input in trained {
            let Some(tensor) = constants.get(node.input.get(input)).filter(|tensor| seen.insert(tensor.name.clone()))
            else {
                continue;
            };
            count = count.saturating_add(size(tensor)?);
            if input == 1 && node.op_type == "Conv" {
                convolutions.add(&reals(tensor)?);
            }
        }
    }
    Ok(Weights { count, convolutions: convolutions.statistics() })
}

fn size(tensor: &TensorProto) -> Result<u64, OnnxError> {
    let mut extents = tensor.dims.iter();
    let size = extents.try_fold(1u64, |size, &extent| size.checked_mul(u64::try_from(extent).ok()?));
    size.ok_or_else(|| OnnxError::Damaged(format!("constant `{}` has shape {:?}", tensor.name, tensor.dims)))
}

/// The numbers of a constant; none where they are not real numbers.
fn reals(tensor: &TensorProto) -> Result<Vec<f32>, OnnxError> {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    let (numbers, is_real) = match tensor.data_type {
        kind if kind == ElementType::Float as i32 && raw.is_empty() => (tensor.float_data.clone(), true),
        kind if kind == ElementType::Float as i32 => {
            (raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(), true)
        }
        kind if kind == ElementType::Float16 as i32 && !raw.is_empty() => {
            (raw.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(), true)
        }
        _ => (Vec::new(), false),
    };
    let (found, expected) = (numbers.len() as u64, size(tensor)?);
    if is_real && found != expected {
        return Err(OnnxError::Damaged(format!(
            "constant `{}` has {found} numbers, and {expected} by its shape {:?}",
            tensor.name, tensor.dims
        )));
    }
    Ok(numbers)
}

/// Multiply-accumulates of one image: the file is run once on `image`, (1, 3, h, w) or as many as it takes, and what its
/// convolutions and matrix products give is looked at.
///
/// # Errors
/// What the engine says.
pub(super) fn macs(graph: &GraphProto, bytes: Vec<u8>, image: &Tensor) -> Result<u64, OnnxError> {
    let constants = Constants::of(graph);
    let products: Vec<(&NodeProto, Product, usize)> = graph
        .node
        .iter()
        .filter_map(|node| product(node).map(|(product, weight)| (node, product, weight)))
        .filter(|(node, ..)| node.output.len() == 1 && node.input.len() > 1)
        .collect();
    let given: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    let names = products
        .iter()
        .flat_map(|(node, _, weight)| [&node.output[0], &node.input[0]].into_iter().chain(node.input.get(*weight)));
    let mut names: Vec<String> = names.filter(|name| given.contains(name)).cloned().collect();
    names.sort();
    names.dedup();
    let found = shapes(bytes, image, &names)?;
    let of_values: HashMap<&String, Vec<usize>> = names.iter().zip(found).collect();
    let shape = |name: Option<&String>| -> Vec<u64> {
        let constant =
            constants.get(name).map(|tensor| tensor.dims.iter().map(|&extent| extent.unsigned_abs()).collect());
        let value =
            || name.and_then(|name| of_values.get(name)).map(|dims| dims.iter().map(|&dim| dim as u64).collect());
        constant.or_else(value).unwrap_or_default()
    };
    let mut sum = 0u64;
    for (node, product, weight) in products {
        let (input, output, filters) =
            (shape(node.input.first()), shape(node.output.first()), shape(node.input.get(weight)));
        let volume = |dims: &[u64]| dims.iter().fold(1u64, |volume, &dim| volume.saturating_mul(dim));
        let filter = volume(filters.get(1..).unwrap_or_default());
        sum = sum.saturating_add(match product {
            Product::Filters => volume(&output).saturating_mul(filter),
            Product::Transposed => volume(&input).saturating_mul(filter),
            Product::Matrix => volume(&output).saturating_mul(input.last().copied().unwrap_or(0)),
        });
    }
    Ok(sum / image.dim(0)?.max(1) as u64)
}
