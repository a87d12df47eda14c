//! What is evaluated or timed, made ready to run.

use candle_core::{Device, Tensor};

use super::candidates::Candidates;
use super::decode::DecodeOptions;
use super::error::EvalError;
use super::subject::Subject;
use crate::exec::{Backend, ComputeDtype, ExecError, Inference, transfer};
use crate::io::onnx::{Boxes, OnnxModel, Threads};
use crate::model::{Detector, Model};
use crate::options::OptionError;

/// What is evaluated or timed, made ready to run.
pub(super) enum Network {
    /// A model: its normalisations folded, its weights packed.
    Own { inference: Box<Inference>, detector: Detector, device: Device },
    /// A file in another engine.
    Onnx { file: OnnxModel, threads: Threads },
}

/// What it gives for a batch.
pub(super) enum Outputs {
    /// The maps of the heads.
    Maps(Vec<Tensor>),
    /// Boxes that the file has decoded.
    Boxes(Boxes),
}

/// A model made ready, to multiply such numbers.
///
/// # Errors
/// A model that cannot be prepared; bf16 where it is not to be had.
pub(super) fn inference(model: &Model, precision: ComputeDtype) -> Result<Inference, ExecError> {
    Inference::with_backend(Backend::in_dtype(&model.device(), precision)?, model, &[])
}

impl Outputs {
    /// The maps of the heads; none of a file.
    pub fn maps(&self) -> &[Tensor] {
        match self {
            Self::Maps(maps) => maps,
            Self::Boxes(_) => &[],
        }
    }
}

impl Network {
    /// Makes it ready, to multiply such numbers; a file to run on so many CPU threads, or all that there are.
    ///
    /// # Errors
    /// A model that cannot be prepared; bf16 where it is not to be had.
    pub fn new(subject: Subject, precision: ComputeDtype, threads: Option<usize>) -> Result<Self, EvalError> {
        Ok(match subject {
            Subject::Model(model) => Self::Own {
                inference: Box::new(inference(model, precision)?),
                detector: model.detector().clone(),
                device: model.device(),
            },
            Subject::Onnx(_) if precision != ComputeDtype::Fp32 => {
                let needs = "\"fp32\" for an ONNX file, which another engine runs as it is";
                return Err(OptionError::value("precision", needs, "\"bf16\"").into());
            }
            Subject::Onnx(file) => {
                let threads = Threads::new(threads.unwrap_or_else(rayon::current_num_threads));
                Self::Onnx { file: file.clone(), threads }
            }
        })
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        match self {
            Self::Own { device, .. } => device,
            Self::Onnx { .. } => &Device::Cpu,
        }
    }

    /// Runs it on images, and waits until it is done.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn run(&self, images: &Tensor) -> Result<Outputs, EvalError> {
        match self {
            Self::Own { inference, device, .. } => {
                let outputs = inference.run(&transfer::up_one(images, device)?)?.outputs;
                device.synchronize()?;
                Ok(Outputs::Maps(outputs))
            }
            Self::Onnx { file, threads } => {
                file.run(images, Some(threads)).map(Outputs::Boxes).map_err(EvalError::file)
            }
        }
    }

    /// The boxes of every image of a batch.
    ///
    /// # Errors
    /// Outputs that are not those of the detector.
    pub fn candidates(&self, outputs: &Outputs, options: DecodeOptions) -> Result<Candidates, EvalError> {
        match (self, outputs) {
            (Self::Own { detector, .. }, Outputs::Maps(maps)) => Candidates::of_maps(detector, maps, options),
            (Self::Onnx { file, .. }, Outputs::Boxes(boxes)) => {
                Candidates::of_boxes(boxes, file.classes().len(), options)
            }
            (Self::Own { .. }, Outputs::Boxes(_)) | (Self::Onnx { .. }, Outputs::Maps(_)) => {
                Err(EvalError::Outputs("they are those of another network".into()))
            }
        }
    }
}
