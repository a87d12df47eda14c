//! The engine that runs ONNX files: rten, a project of its own, so that what it computes is no echo of ours.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use prost::Message;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;

use super::cut::{Cut, cut};
use super::proto::ModelProto;
use super::standard::{Limits, suppress};
use crate::boxes::Centred;
use crate::exec::numbers::with_numbers;
use crate::io::onnx_error::OnnxError;

/// A file made ready to run.
pub(super) enum Engine {
    /// As it is.
    Whole(Box<Model>),
    /// Cut at its suppression, which is computed here.
    Cut { before: Box<Model>, after: Box<Model>, cut: Box<Cut> },
}

/// Threads that an engine runs on.
#[derive(Clone, Debug)]
pub struct Threads(Arc<ThreadPool>);

impl Threads {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(ThreadPool::with_num_threads(count)))
    }
}

/// Pixels with values in [0, 1] of images, and their shape (n, 3, h, w).
pub(super) type Images = (Vec<f32>, [usize; 4]);

/// The outputs of a file for images, which go as soon as they are read.
///
/// # Errors
/// What the engine says.
pub(super) fn run(file: &ModelProto, images: Images) -> Result<Vec<Tensor>, OnnxError> {
    Engine::new(file, || file.encode_to_vec())?.run_once(images, file.encoded_len())
}

/// The same for a file on the disk that suppresses nothing.
///
/// # Errors
/// What the engine says.
pub(super) fn run_written(file: &Path, images: Images) -> Result<Vec<Tensor>, OnnxError> {
    let content = fs::read(file).map_err(failed)?;
    let bytes = content.len();
    Engine::Whole(Box::new(model(content, true)?)).run_once(images, bytes)
}

impl Engine {
    /// Makes a file ready of which `bytes` gives the content.
    ///
    /// # Errors
    /// What the engine says.
    pub(super) fn new(file: &ModelProto, bytes: impl FnOnce() -> Vec<u8>) -> Result<Self, OnnxError> {
        Ok(match cut(file) {
            None => Self::Whole(Box::new(model(bytes(), true)?)),
            Some(mut cut) => {
                let part = |file: &mut ModelProto| model(std::mem::take(file).encode_to_vec(), true);
                let (before, after) = (Box::new(part(&mut cut.before)?), Box::new(part(&mut cut.after)?));
                Self::Cut { before, after, cut: Box::new(cut) }
            }
        })
    }

    /// The outputs for images (n, 3, h, w) with values in [0, 1], on the engine's own threads or on these.
    ///
    /// # Errors
    /// What the engine says.
    pub(super) fn run(&self, images: &Tensor, threads: Option<&Threads>) -> Result<Vec<Tensor>, OnnxError> {
        with_numbers(images, |numbers| {
            self.run_on(ValueView::from_shape(images.dims(), numbers).map_err(failed)?.into(), threads)
        })?
    }

    /// The outputs of a file of so many bytes. Each thread borrows some 2 MB of its own: there are no more than its size makes
    /// worth it.
    fn run_once(&self, (pixels, shape): Images, bytes: usize) -> Result<Vec<Tensor>, OnnxError> {
        const BYTES_A_THREAD: usize = 4 << 20;
        let threads = rayon::current_num_threads().min((bytes / BYTES_A_THREAD).max(1));
        self.run_on(Value::from_shape(shape, pixels).map_err(failed)?.into(), Some(&Threads::new(threads)))
    }

    fn run_on(&self, images: ValueOrView, threads: Option<&Threads>) -> Result<Vec<Tensor>, OnnxError> {
        let values = match self {
            Self::Whole(whole) => outputs(whole, vec![(input(whole)?, images)], threads)?,
            Self::Cut { before, after, cut } => run_cut([before, after], cut, images, threads)?,
        };
        values.into_iter().map(tensor).collect()
    }
}

/// The shapes of values of a file, in order, when it runs on images (n, 3, h, w) with values in [0, 1]. Nothing is merged or
/// left out before, so that each value that a node gives can be asked for.
///
/// # Errors
/// What the engine says; names that no node gives.
pub(super) fn shapes(bytes: Vec<u8>, images: &Tensor, names: &[String]) -> Result<Vec<Vec<usize>>, OnnxError> {
    let whole = model(bytes, false)?;
    let ids = names.iter().map(|name| whole.node_id(name).map_err(failed)).collect::<Result<Vec<_>, _>>()?;
    let values = with_numbers(images, |numbers| {
        let images = ValueView::from_shape(images.dims(), numbers).map_err(failed)?.into();
        values(&whole, vec![(input(&whole)?, images)], &ids, None)
    })??;
    Ok(values.iter().map(|value| value.shape().to_vec()).collect())
}

/// The outputs of a file that is cut at its suppression.
fn run_cut(
    [before, after]: [&Model; 2],
    cut: &Cut,
    images: ValueOrView,
    threads: Option<&Threads>,
) -> Result<Vec<Value>, OnnxError> {
    let values = outputs(before, vec![(input(before)?, images)], threads)?;
    let value = |name: &String| {
        let id = before.node_id(name).map_err(failed)?;
        let at = before.output_ids().iter().position(|&output| output == id);
        at.map(|at| &values[at]).ok_or_else(|| failed(format!("there is no value `{name}`")))
    };
    let read = |at: usize| cut.reads.get(at).filter(|name| !name.is_empty()).map(value).transpose();
    let kept = selected(cut.centred, [read(0)?, read(1)?, read(2)?, read(3)?, read(4)?])?;
    let mut inputs: Vec<(NodeId, ValueOrView)> = vec![(after.node_id(&cut.gives).map_err(failed)?, kept.into())];
    for name in &cut.passed {
        inputs.push((after.node_id(name).map_err(failed)?, value(name)?.into()));
    }
    outputs(after, inputs, threads)
}

/// What suppression keeps of what it reads: boxes, by corners or by centre and size; scores; and where they are given the most
/// boxes of a class, intersection over union and score.
fn selected(centred: bool, [boxes, scores, most, iou, score]: [Option<&Value>; 5]) -> Result<Value, OnnxError> {
    let (Some(Value::FloatTensor(boxes)), Some(Value::FloatTensor(scores))) = (boxes, scores) else {
        return Err(failed("its non-maximum suppression reads other values than boxes and scores"));
    };
    let (&[images, count, 4], &[batch, classes, places]) = (boxes.shape(), scores.shape()) else {
        return Err(failed("boxes and scores are of other shapes than non-maximum suppression reads"));
    };
    if (images, count) != (batch, places) {
        return Err(failed("there are not as many scores as boxes"));
    }
    let wrong = || failed("the limits of non-maximum suppression are no single numbers");
    let most = match most {
        // What ONNX says: none is kept, unless it is said how many.
        None => 0,
        Some(Value::Int32Tensor(most)) => {
            most.to_vec().first().and_then(|&most| usize::try_from(most).ok()).ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    let limit = |limit: Option<&Value>, usual: f32| match limit {
        None => Ok(usual),
        Some(Value::FloatTensor(limit)) => limit.to_vec().first().copied().ok_or_else(wrong),
        Some(_) => Err(wrong()),
    };
    let limits = Limits { most, iou: limit(iou, 0.0)?, score: limit(score, f32::NEG_INFINITY)? };
    let mut boxes = boxes.to_vec();
    if centred {
        for corners in boxes.as_chunks_mut::<4>().0 {
            let [cx, cy, w, h] = *corners;
            *corners = Centred { cx, cy, w, h }.corners();
        }
    }
    let kept = suppress(&boxes, &scores.to_vec(), [images, classes, count], &limits);
    Value::from_shape([kept.len(), 3], kept.concat()).map_err(failed)
}

fn model(bytes: Vec<u8>, optimise: bool) -> Result<Model, OnnxError> {
    let mut options = ModelOptions::with_all_ops();
    options.enable_optimization(optimise);
    guarded(|| options.load(bytes).map_err(failed))
}

fn input(model: &Model) -> Result<NodeId, OnnxError> {
    model.input_ids().first().copied().ok_or_else(|| failed("it has no input"))
}

fn outputs(
    model: &Model,
    inputs: Vec<(NodeId, ValueOrView)>,
    threads: Option<&Threads>,
) -> Result<Vec<Value>, OnnxError> {
    values(model, inputs, model.output_ids(), threads)
}

fn values(
    model: &Model,
    inputs: Vec<(NodeId, ValueOrView)>,
    wanted: &[NodeId],
    threads: Option<&Threads>,
) -> Result<Vec<Value>, OnnxError> {
    let mut options = RunOptions::default();
    options.thread_pool = threads.map(|threads| Arc::clone(&threads.0));
    guarded(|| model.run(inputs, wanted, Some(options)).map_err(failed))
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

/// Files are not to be trusted, and the engine is not ours: that it gives up on one is an error like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, OnnxError>) -> Result<T, OnnxError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failed("the engine gave up on it")))
}
