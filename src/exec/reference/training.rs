//! Training: recorded by candle's autograd.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var};

use super::ops;
use crate::{
    exec::{
        error::ExecError,
        observer::{self, Observer},
        options::{NormStatistics, TrainOptions},
        shapes::Shapes,
        transfer,
        values::{Gradients, ValueGradients, Values},
    },
    graph::{BatchNorm, Graph, Node, NodeId, Op},
    model::{Model, Tensors},
};

/// A run recorded by candle's autograd.
pub(in crate::exec) struct Recorded {
    model: Model,
    /// The trained tensors, by name.
    variables: BTreeMap<String, Var>,
    /// Zeros added to the values for which the gradient may be asked for: their gradient is that of the value.
    at_nodes: BTreeMap<NodeId, Var>,
    gradient_taps: Vec<NodeId>,
    /// The values, connected to the variables.
    values: Values,
}

impl Recorded {
    pub(in crate::exec) fn graph(&self) -> &Graph {
        self.model.graph()
    }

    /// One backward pass of Σ value · gradient, which is the vector-Jacobian product asked for.
    pub(in crate::exec) fn backward(
        self,
        given: &ValueGradients,
        observer: &mut dyn Observer,
    ) -> std::result::Result<Gradients, ExecError> {
        let graph = self.model.graph();
        if let Some(id) = observer::wanted(graph, observer).find(|id| !self.at_nodes.contains_key(id)) {
            return Err(ExecError::NotObserved { layer: graph.node(id).name.clone() });
        }
        let outputs = self.values.outputs.iter().zip(&given.outputs);
        let outputs = outputs.filter_map(|(value, gradient)| Some((value, gradient.as_ref()?)));
        let taps = given.taps.iter().map(|(id, gradient)| (&self.values.taps[id], gradient));
        let mut total: Option<Tensor> = None;
        for (value, gradient) in outputs.chain(taps) {
            let gradient = match gradient.device().same_device(value.device()) {
                true => gradient.detach(),
                false => transfer::up_one(gradient, value.device())?,
            };
            let product = value.mul(&gradient)?.sum_all()?;
            total = Some(match total {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
        let mut found = Gradients::default();
        let Some(total) = total else { return Ok(found) };
        let store = total.backward()?;
        let gradient = |(name, variable): (&String, &Var)| Some((name.clone(), store.get(variable)?.detach()));
        found.tensors = self.variables.iter().filter_map(gradient).collect();
        for (&id, variable) in self.at_nodes.iter().rev() {
            if let Some(gradient) = store.get(variable) {
                observer::show_gradient(graph, observer, id, gradient)?;
                if self.gradient_taps.contains(&id) {
                    found.taps.insert(id, gradient.detach());
                }
            }
        }
        Ok(found)
    }
}

/// Runs recorded.
pub(in crate::exec) fn train(
    model: &Model,
    shapes: Shapes,
    images: &Tensor,
    options: &TrainOptions<'_>,
    observer: &mut dyn Observer,
) -> std::result::Result<(Values, Tensors, Recorded), ExecError> {
    let (graph, tensors) = (model.graph(), model.tensors());
    let mut variables = BTreeMap::new();
    let mut connected = Tensors::new();
    for (_, name, parameter) in graph.parameters() {
        let tensor = &tensors[&name];
        if parameter.role.is_trainable() {
            let variable = Var::from_tensor(tensor)?;
            connected.insert(name.clone(), variable.as_tensor().clone());
            variables.insert(name, variable);
        } else {
            connected.insert(name, tensor.clone());
        }
    }
    let mut at_nodes = BTreeMap::new();
    for id in options.gradient_taps.iter().copied().chain(observer::wanted(graph, observer)) {
        at_nodes.insert(id, Var::zeros(shapes.dims(id), DType::F32, images.device())?);
    }
    let mut running = Tensors::new();
    let mut values: Vec<Tensor> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|&input| &values[input]).collect();
        let owned = |suffix: &str| &connected[&node.tensor_name(suffix)];
        let value = match (&node.op, options.statistics) {
            (Op::Input { .. }, _) => Ok(images.clone()),
            (Op::Conv(conv), _) => {
                let bias = conv.bias.then(|| owned("bias"));
                ops::convolve(conv, inputs[0], owned("weight"), bias)
            }
            (Op::BatchNorm(norm), NormStatistics::Batch) => {
                normalise_with_batch(norm, node, &connected, inputs[0], &mut running)
            }
            (Op::BatchNorm(norm), NormStatistics::Running) => {
                ops::averages(norm, node, &connected).and_then(|[scale, shift]| ops::affine(inputs[0], &scale, &shift))
            }
            (Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. }, _) => ops::plain(&node.op, &inputs),
            (Op::Add | Op::Concat | Op::Slice { .. }, _) => ops::plain(&node.op, &inputs),
        };
        let value = value.and_then(|value| match at_nodes.get(&id) {
            Some(zeros) => value + zeros.as_tensor(),
            None => Ok(value),
        });
        let value = shapes.in_layer(graph, id, value)?;
        observer::show_value(graph, observer, id, &value.detach())?;
        values.push(value);
    }
    let values = Values {
        outputs: graph.outputs().iter().map(|&id| values[id].clone()).collect(),
        taps: options.taps.iter().map(|&id| (id, values[id].clone())).collect(),
    };
    let detached = Values {
        outputs: values.outputs.iter().map(Tensor::detach).collect(),
        taps: values.taps.iter().map(|(&id, value)| (id, value.detach())).collect(),
    };
    let gradient_taps = options.gradient_taps.to_vec();
    let recorded = Recorded { model: model.clone(), variables, at_nodes, gradient_taps, values };
    Ok((detached, running, recorded))
}

fn normalise_with_batch(
    norm: &BatchNorm,
    node: &Node,
    tensors: &Tensors,
    input: &Tensor,
    running: &mut Tensors,
) -> Result<Tensor> {
    let owned = |suffix: &str| &tensors[&node.tensor_name(suffix)];
    let mean = input.mean_keepdim((0, 2, 3))?;
    let centred = input.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    let count = (input.elem_count() / norm.channels) as f64;
    let unbiased = (variance.detach() * (count / (count - 1.0).max(1.0)))?;
    for (suffix, batch) in [("running_mean", mean.detach()), ("running_var", unbiased)] {
        let kept = (owned(suffix) * (1.0 - norm.momentum))?;
        let updated = (kept + (batch.flatten_all()? * norm.momentum)?)?;
        running.insert(node.tensor_name(suffix), updated);
    }
    let normalised = centred.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    ops::affine(&normalised, owned("weight"), owned("bias"))
}
