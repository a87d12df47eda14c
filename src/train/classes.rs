//! A detector for other classes.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    graph::{Graph, NodeId, Op, Parameter, Role},
    model::{Detector, Model, ModelError, OutputKind, Tensors},
};

/// The same detector for other classes, to be fine-tuned: of its last convolutions the filters of boxes and objectness
/// are kept, as are those of classes whose names it has already; the filters of new classes are drawn from `seed`, with
/// biases that make them rare (Lin et al. 2017, "Focal Loss", section 4.1).
///
/// # Errors
/// No names, a name twice, or outputs that are not convolutions.
pub fn with_classes(model: &Model, names: &[String], seed: u64) -> Result<Model, ModelError> {
    if names.is_empty() {
        return Err(ModelError::Detector("it needs at least one class".into()));
    }
    if let Some(name) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name) {
        return Err(ModelError::Detector(format!("class `{name}` is named twice")));
    }
    let old = model.detector();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut graph = model.graph().clone();
    let (mut tensors, mut masks) = (model.tensors().clone(), model.masks().clone());
    for (output, &node) in model.graph().outputs().iter().enumerate() {
        let Some(rows) = rows(old, output, names) else { continue };
        replace(&mut graph, &mut tensors, &mut masks, node, &rows, &mut rng)?;
    }
    let detector = Detector { classes: names.to_vec(), ..old.clone() };
    let step = format!("classes {} → {}", old.classes.len(), names.len());
    let changed = Model::new(graph, tensors, detector, model.provenance().clone())?;
    Ok(changed.with_masks(masks)?.with_step(step))
}

/// A filter of a new last convolution.
enum Row {
    /// The old filter of this index.
    Kept(usize),
    /// A new one with this bias.
    Fresh(f32),
}

/// The filters of an output, or `None` where it has nothing to do with classes.
fn rows(old: &Detector, output: usize, names: &[String]) -> Option<Vec<Row>> {
    let known = |name: &String| old.classes.iter().position(|class| class == name);
    let class = |first: usize, bias: f32| {
        names.iter().map(move |name| known(name).map_or(Row::Fresh(bias), |class| Row::Kept(first + class)))
    };
    let bias = old.class_bias(old.outputs[output].level, names.len());
    match old.outputs[output].kind {
        OutputKind::Anchors => {
            let width = 5 + old.classes.len();
            let anchor = |first: usize| (first..first + 5).map(Row::Kept).chain(class(first + 5, bias));
            Some((0..old.channels()[output]).step_by(width).flat_map(anchor).collect())
        }
        OutputKind::Classes => Some(class(0, bias).collect()),
        OutputKind::Boxes => None,
    }
}

/// Gives an output's convolution its new rows: in the graph, in its tensors, and in their masks, which hold no new filter.
fn replace(
    graph: &mut Graph,
    tensors: &mut Tensors,
    masks: &mut Tensors,
    node: NodeId,
    rows: &[Row],
    rng: &mut ChaCha8Rng,
) -> Result<(), ModelError> {
    let name = graph.node(node).name.clone();
    let Op::Conv(conv) = graph.op_mut(node) else {
        return Err(ModelError::Detector(format!("its output `{name}` is not a convolution")));
    };
    conv.out_channels = rows.len();
    for parameter in graph.node(node).op.parameters() {
        let name = graph.node(node).tensor_name(parameter.suffix);
        let width = parameter.per_output();
        if let Some(mask) = masks.get_mut(&name) {
            *mask = with_rows(mask, rows, &parameter, |_| vec![1.0; width])?;
        }
        let Some(tensor) = tensors.get_mut(&name) else { continue };
        let reach = 1.0 / (width as f32).sqrt();
        *tensor = with_rows(tensor, rows, &parameter, |bias| match parameter.role {
            Role::Bias => vec![bias],
            Role::Weight | Role::NormScale | Role::NormShift | Role::RunningMean | Role::RunningVar => {
                (0..width).map(|_| rng.random_range(-reach..reach)).collect()
            }
        })?;
    }
    Ok(())
}

/// A tensor of a convolution with other rows; `fresh` makes one for a new filter with this bias.
fn with_rows(
    tensor: &Tensor,
    rows: &[Row],
    parameter: &Parameter,
    mut fresh: impl FnMut(f32) -> Vec<f32>,
) -> Result<Tensor, ModelError> {
    let old = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let width = parameter.per_output();
    let mut new = Vec::with_capacity(parameter.count());
    for row in rows {
        match row {
            Row::Kept(index) => new.extend_from_slice(&old[index * width..(index + 1) * width]),
            Row::Fresh(bias) => new.extend(fresh(*bias)),
        }
    }
    Ok(Tensor::from_vec(new, parameter.shape.as_slice(), tensor.device())?)
}
