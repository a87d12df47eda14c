//! How good and how fast a detector is.
//!
//! [`evaluate`] runs a model on a split: raw outputs become boxes ([`decode`]), of which those that overlap a better one
//! go ([`suppress`]), and against the labels they give [`average_precision`] by one of three [`Rule`]s. A
//! [`Predictor`] does the same for single images. [`bench()`] times inference, [`compare`] puts models side by side, and [`activations`] says
//! what the layers do on real images. What is evaluated, timed and compared is a [`Subject`]: a model, or an ONNX file that
//! another engine runs.

mod activations;
mod average_precision;
mod candidates;
mod class_curves;
mod coco;
mod compare;
mod confusion;
mod curves;
mod decode;
mod decoded;
mod detection;
mod error;
mod evaluate;
mod latency;
mod layer_times;
mod matching;
mod network;
mod nms;
mod options;
mod predict;
mod subject;
mod timing;

pub use activations::{ActivationStatistics, LossGradients, activations, gradients, over_batches};
pub use average_precision::{ClassScore, Rule, Score, Scores, average_precision};
pub use class_curves::{ClassCurves, class_curves};
pub use coco::CocoScore;
pub use compare::{Compare, Compared, compare};
pub use confusion::{Confusion, confusion};
pub(crate) use confusion::{Overlaps, pair_up};
pub use decode::{DecodeOptions, decode};
pub use detection::{Detection, ImageResult};
pub use error::EvalError;
pub use evaluate::{EachBatch, Metrics, Seconds, evaluate, evaluate_with};
pub(crate) use evaluate::{check_classes, check_evaluation, image_results};
pub(crate) use latency::noise;
pub use latency::{BenchReport, Measured, Timed, bench, measure, peak_memory, time_runs, with_threads};
pub use layer_times::LayerTime;
pub use nms::{NmsOptions, suppress};
pub use options::{ActivationOptions, BenchOptions, ConfusionOptions, EvaluateOptions, PredictOptions};
pub use predict::Predictor;
pub use subject::Subject;
pub use timing::Timing;
