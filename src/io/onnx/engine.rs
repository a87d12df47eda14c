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

/// A file made ready to run.
pub(super) struct Engine {
    parts: Parts,
}

/// A file as it is, or cut at what the engine computes otherwise.
enum Parts {
    Whole(Box<Model>),
    Cut(Box<Halves>),
}

/// The two sides of a cut.
struct Halves {
    before: Model,
    after: Model,
    cut: Cut,
}

impl Engine {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// For files that are damaged, and operations that the engine does not know.
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, OnnxError> {
        let suppresses = bytes.windows(SUPPRESSION.len()).any(|part| part == SUPPRESSION);
        let cut = match suppresses {
            true => cut(ModelProto::decode(&bytes[..]).map_err(|error| OnnxError::Damaged(error.to_string()))?)?,
            false => None,
        };
        let parts = match cut {
            None => Parts::Whole(Box::new(model(bytes)?)),
            Some(mut cut) => {
                let part = |file: &mut ModelProto| model(std::mem::take(file).encode_to_vec());
                let (before, after) = (part(&mut cut.before)?, part(&mut cut.after)?);
                Parts::Cut(Box::new(Halves { before, after, cut }))
            }
        };
        Ok(Self { parts })
    }

    /// The outputs for images (n, 3, h, w) with values in [0, 1].
    ///
    /// # Errors
    /// What the engine says.
    pub(super) fn run(&self, images: &Tensor) -> Result<Vec<Tensor>, OnnxError> {
        let outputs = with_numbers(images, |numbers| {
            let images = || Ok::<_, OnnxError>(ValueView::from_shape(images.dims(), numbers).map_err(failed)?.into());
            match &self.parts {
                Parts::Whole(model) => run(model, vec![(model.input_ids()[0], images()?)]),
                Parts::Cut(halves) => {
                    let Halves { before, after, cut } = &**halves;
                    let values = run(before, vec![(before.input_ids()[0], images()?)])?;
                    let value = |name: &str| {
                        let id = before.node_id(name).map_err(failed)?;
                        let at = before.output_ids().iter().position(|&output| output == id);
                        at.map(|at| &values[at]).ok_or_else(|| failed(format!("there is no value `{name}`")))
                    };
                    let kept = selected(cut, value)?;
                    let mut inputs: Vec<(NodeId, ValueOrView)> =
                        vec![(after.node_id(&cut.gives).map_err(failed)?, kept.into())];
                    for name in &cut.passed {
                        inputs.push((after.node_id(name).map_err(failed)?, value(name)?.into()));
                    }
                    run(after, inputs)
                }
            }
        })??;
        outputs.into_iter().map(tensor).collect()
    }
}

/// The name of the operation that the engine computes otherwise than ONNX says.
const SUPPRESSION: &[u8] = b"NonMaxSuppression";

fn model(bytes: Vec<u8>) -> Result<Model, OnnxError> {
    let options = ModelOptions::with_all_ops();
    let model = guarded(|| options.load(bytes).map_err(failed))?;
    if model.input_ids().is_empty() {
        return Err(OnnxError::Layout("it has no input; a detector has one, the images".into()));
    }
    Ok(model)
}

fn run(model: &Model, inputs: Vec<(NodeId, ValueOrView)>) -> Result<Vec<Value>, OnnxError> {
    guarded(|| model.run(inputs, model.output_ids(), None).map_err(failed))
}

/// What suppression keeps of the values that it reads.
fn selected<'v>(cut: &Cut, value: impl Fn(&str) -> Result<&'v Value, OnnxError>) -> Result<Value, OnnxError> {
    let read = |at: usize| cut.reads.get(at).filter(|name| !name.is_empty()).map(|name| value(name)).transpose();
    let wrong = || OnnxError::Layout("what its non-maximum suppression reads does not fit together".into());
    let reals = |at: usize| match read(at)? {
        Some(Value::FloatTensor(tensor)) => Ok(Some((tensor.shape().to_vec(), tensor.to_vec()))),
        Some(_) => Err(wrong()),
        None => Ok(None),
    };
    let (box_shape, boxes) = reals(0)?.ok_or_else(wrong)?;
    let (score_shape, scores) = reals(1)?.ok_or_else(wrong)?;
    let (&[images, count, 4], &[batch, classes, places]) = (&box_shape[..], &score_shape[..]) else {
        return Err(wrong());
    };
    if (images, count) != (batch, places) {
        return Err(wrong());
    }
    // Without a number, no box is selected at all.
    let most = match read(2)? {
        Some(Value::Int32Tensor(most)) => most.to_vec().first().copied().and_then(|most| usize::try_from(most).ok()),
        Some(_) => return Err(wrong()),
        None => None,
    };
    let threshold = |at: usize| Ok::<_, OnnxError>(reals(at)?.and_then(|(_, numbers)| numbers.first().copied()));
    let limits = Limits {
        most: most.unwrap_or(0),
        iou: threshold(3)?.unwrap_or(0.0),
        score: threshold(4)?.unwrap_or(f32::NEG_INFINITY),
    };
    let kept = suppress(&boxes, cut.centred, &scores, [images, classes, count], &limits);
    Value::from_shape([kept.len(), 3], kept.concat()).map_err(failed)
}

fn tensor(value: Value) -> Result<Tensor, OnnxError> {
    let Value::FloatTensor(numbers) = value else {
        return Err(OnnxError::Layout("it has an output that is not of real numbers".into()));
    };
    let shape = numbers.shape().to_vec();
    Ok(Tensor::from_vec(numbers.into_data(), shape, &Device::Cpu)?)
}

fn failed(error: impl std::fmt::Display) -> OnnxError {
    OnnxError::Engine(error.to_string())
}

/// Files are not to be trusted, and the engine is not ours: that it gives up on one is an error like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, OnnxError>) -> Result<T, OnnxError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(OnnxError::Engine("the engine gave up on it".into())))
}
