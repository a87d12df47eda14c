//! The engine that runs ONNX files: rten, a project of its own, so that what it computes is no echo of ours.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{Device, Tensor};
use prost::Message;
use rten::{Model, ModelOptions, NodeId, Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;

use super::cut::{Cut, cut};
use super::proto::ModelProto;
use super::standard::{Limits, suppress};
use crate::exec::numbers::with_numbers;
use crate::io::onnx_error::OnnxError;

/// The outputs of a file for images (n, 3, h, w) with values in [0, 1].
///
/// # Errors
/// What the engine says.
pub(super) fn run(file: &ModelProto, images: &Tensor) -> Result<Vec<Tensor>, OnnxError> {
    let values = with_numbers(images, |numbers| {
        let images = ValueView::from_shape(images.dims(), numbers).map_err(failed)?.into();
        match cut(file) {
            None => {
                let whole = model(file)?;
                outputs(&whole, vec![(input(&whole)?, images)])
            }
            Some(cut) => run_cut(&cut, images),
        }
    })??;
    values.into_iter().map(tensor).collect()
}

/// The outputs of a file that is cut at its suppression, which is computed here.
fn run_cut(cut: &Cut, images: ValueOrView) -> Result<Vec<Value>, OnnxError> {
    let (before, after) = (model(&cut.before)?, model(&cut.after)?);
    let values = outputs(&before, vec![(input(&before)?, images)])?;
    let value = |name: &String| {
        let id = before.node_id(name).map_err(failed)?;
        let at = before.output_ids().iter().position(|&output| output == id);
        at.map(|at| &values[at]).ok_or_else(|| failed(format!("there is no value `{name}`")))
    };
    let read = cut.reads.iter().map(value).collect::<Result<Vec<&Value>, _>>()?;
    let kept = selected(&read)?;
    let mut inputs: Vec<(NodeId, ValueOrView)> = vec![(after.node_id(&cut.gives).map_err(failed)?, kept.into())];
    for name in &cut.passed {
        inputs.push((after.node_id(name).map_err(failed)?, value(name)?.into()));
    }
    outputs(&after, inputs)
}

/// What suppression keeps of what it reads: boxes, scores, the most boxes of a class, intersection over union, score.
fn selected(read: &[&Value]) -> Result<Value, OnnxError> {
    let &[
        Value::FloatTensor(boxes),
        Value::FloatTensor(scores),
        Value::Int32Tensor(most),
        Value::FloatTensor(iou),
        Value::FloatTensor(score),
    ] = read
    else {
        return Err(failed("its non-maximum suppression reads other values than it should"));
    };
    let (&[images, count, 4], &[batch, classes, places]) = (boxes.shape(), scores.shape()) else {
        return Err(failed("boxes and scores are of other shapes than non-maximum suppression reads"));
    };
    let (&[most], &[iou], &[score]) = (&most.to_vec()[..], &iou.to_vec()[..], &score.to_vec()[..]) else {
        return Err(failed("the limits of non-maximum suppression are no single numbers"));
    };
    if (images, count) != (batch, places) {
        return Err(failed("there are not as many scores as boxes"));
    }
    let limits = Limits { most: most as usize, iou, score };
    let kept = suppress(&boxes.to_vec(), &scores.to_vec(), [images, classes, count], &limits);
    Value::from_shape([kept.len(), 3], kept.concat()).map_err(failed)
}

fn model(file: &ModelProto) -> Result<Model, OnnxError> {
    guarded(|| ModelOptions::with_all_ops().load(file.encode_to_vec()).map_err(failed))
}

fn input(model: &Model) -> Result<NodeId, OnnxError> {
    model.input_ids().first().copied().ok_or_else(|| failed("it has no input"))
}

fn outputs(model: &Model, inputs: Vec<(NodeId, ValueOrView)>) -> Result<Vec<Value>, OnnxError> {
    guarded(|| model.run(inputs, model.output_ids(), None).map_err(failed))
}

fn tensor(value: Value) -> Result<Tensor, OnnxError> {
    let Value::FloatTensor(numbers) = value else {
        return Err(failed("it has an output that is not of real numbers"));
    };
    let shape = numbers.shape().to_vec();
    Ok(Tensor::from_vec(numbers.into_data(), shape, &Device::Cpu)?)
}

fn failed(error: impl std::fmt::Display) -> OnnxError {
    OnnxError::Engine(error.to_string())
}

/// The engine is not ours: that it gives up on a file is an error like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, OnnxError>) -> Result<T, OnnxError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failed("the engine gave up on it")))
}
