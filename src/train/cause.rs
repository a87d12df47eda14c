//! Which term, and which of the values that it looks at, is no longer finite.

use candle_core::{DType, Tensor};

use super::objective::Objective;
use crate::{
    exec::{ValueGradients, Values},
    graph::{Graph, NodeId},
};

/// The first part that is not finite, with the first of the features that its term looks at which is not.
pub(super) fn of_loss(objective: &Objective, parts: &[f32], values: &Values, graph: &Graph) -> String {
    let mut names =
        objective.terms().iter().flat_map(|term| term.part_names().into_iter().map(move |name| (term, name)));
    let Some((term, name)) = names.by_ref().zip(parts).find(|(_, part)| !part.is_finite()).map(|(named, _)| named)
    else {
        return "the sum of all parts".into();
    };
    let taps = term.taps();
    let broken = taps.iter().find(|tap| values.taps.get(tap).is_some_and(|value| !finite(value)));
    match broken {
        Some(&tap) => format!("{name}, of the model's features at `{}`, which are not finite", graph.node(tap).name),
        None if !values.outputs.iter().all(finite) => format!("{name}; the model's outputs are not finite"),
        None if taps.is_empty() => format!("{name}, of outputs that are finite"),
        None => format!("{name}, of features that are finite, at {}", layers(&taps, graph)),
    }
}

/// The first of the terms' own gradients that is not finite; where all are, the backward pass went astray.
pub(super) fn of_gradient<'a>(
    objective: &Objective,
    values: &ValueGradients,
    mut own: impl Iterator<Item = (&'a String, &'a Tensor)>,
    graph: &Graph,
) -> String {
    if let Some((&tap, _)) = values.taps.iter().find(|(_, gradient)| !finite(gradient)) {
        let looks = objective.terms().iter().filter(|term| term.taps().contains(&tap));
        let names: Vec<String> = looks.flat_map(|term| term.part_names()).collect();
        return format!("{} at `{}`", names.join(" or "), graph.node(tap).name);
    }
    if let Some((name, _)) = own.find(|(_, gradient)| !finite(gradient)) {
        return format!("for `{name}`");
    }
    match values.outputs.iter().flatten().all(finite) {
        true => "behind losses and terms whose own gradients are finite".into(),
        false => "for the model's outputs".into(),
    }
}

fn layers(taps: &[NodeId], graph: &Graph) -> String {
    taps.iter().map(|&tap| format!("`{}`", graph.node(tap).name)).collect::<Vec<_>>().join(", ")
}

/// Whether all numbers are; a tensor that cannot be read is not blamed.
fn finite(tensor: &Tensor) -> bool {
    let numbers =
        tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F32)).and_then(|flat| flat.to_vec1::<f32>());
    numbers.map_or(true, |numbers| numbers.iter().all(|number| number.is_finite()))
}
