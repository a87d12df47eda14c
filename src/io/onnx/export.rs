//! Writing a model as ONNX: written, run by another engine beside our own, and only then put in its place.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use candle_core::Device;
use prost::Message;
use serde::Serialize;

use super::compose::{Composed, compose};
use super::fold::folded;
use super::options::{Batch, ExportOptions};
use super::verify::Expected;
use super::widths::{OddWidths, odd_widths};
use crate::graph::Shape;
use crate::io::atomic::Pending;
use crate::io::error::IoError;
use crate::io::onnx_error::OnnxError;
use crate::model::Model;
use crate::options::{OptionError, Options};
use crate::progress::Progress;

/// What was exported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: usize,
    /// Side of the images in pixels.
    pub size: usize,
    /// Images at once.
    pub batch: Batch,
    /// Version of the operators.
    pub opset: usize,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Name and shape of each output, the images apart.
    pub outputs: Vec<(String, Vec<usize>)>,
    /// The largest difference between what another engine computes of the file and what the model gives, on an image of
    /// noise: of pixels as of shares.
    pub difference: f32,
    /// Convolutions whose widths are no multiple of eight.
    #[serde(skip)]
    pub odd_widths: Option<OddWidths>,
}

/// Writes a model as one ONNX file that other programs run: with the layout and the metadata of the exporters of YOLOv5 and
/// of Ultralytics. What is written is run by another engine on an image of noise, and must give what the
/// model gives; only then it replaces what was there before, at once.
///
/// # Errors
/// Options that do not go together, a model that cannot run at that size, a difference that is too large, or a file that
/// cannot be written.
pub fn export(
    model: &Model,
    path: impl AsRef<Path>,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Exported, IoError> {
    let path = path.as_ref();
    progress.start("export", Some(3));
    let exported = steps(model, path, options, progress);
    progress.finish();
    exported
}

fn steps(model: &Model, path: &Path, options: &ExportOptions, progress: &dyn Progress) -> Result<Exported, IoError> {
    let of_file = |source: OnnxError| IoError::Export { path: path.into(), source: Box::new(source) };
    check(model, options).map_err(of_file)?;
    let odd_widths = odd_widths(model.graph(), options.size).map_err(|error| of_file(error.into()))?;
    let prepared = Prepared::new(model, options).map_err(of_file)?;
    progress.advance(1, "composed");
    let content = prepared.composed.file.encode_to_vec();
    let bytes = content.len();
    let pending = Pending::write(path, |writer: &mut dyn Write| writer.write_all(&content))?;
    if !holds(pending.place(), &content).map_err(|source| IoError::Read { path: path.into(), source })? {
        return Err(of_file(OnnxError::ReadBack));
    }
    drop(content);
    let Verified { nodes, outputs, difference } = prepared.verify(pending.place(), options).map_err(of_file)?;
    progress.advance(2, "run by another engine");
    if progress.stop_requested() {
        return Err(of_file(OnnxError::Stopped));
    }
    pending.commit()?;
    progress.advance(3, "written");
    let ExportOptions { size, batch, opset, .. } = *options;
    Ok(Exported { path: path.into(), bytes, size, batch, opset, nodes, outputs, difference, odd_widths })
}

/// Whether a file holds this content and nothing else.
fn holds(file: &Path, content: &[u8]) -> io::Result<bool> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut rest = content;
    loop {
        let read = reader.fill_buf()?;
        let Some(after) = rest.strip_prefix(read) else { return Ok(false) };
        let count = read.len();
        if count == 0 {
            return Ok(rest.is_empty());
        }
        rest = after;
        reader.consume(count);
    }
}

fn check(model: &Model, options: &ExportOptions) -> Result<(), OnnxError> {
    options.check()?;
    model.check_size(options.size)?;
    let wrong =
        |key: &str, expected: &str, found: &dyn std::fmt::Display| Err(OptionError::value(key, expected, found).into());
    match options.batch {
        Batch::Dynamic if options.nms => {
            wrong("batch", "1 with nms: true, for each image has its own boxes", &"\"dynamic\"")
        }
        Batch::Fixed(count) if options.nms && count != 1 => {
            wrong("batch", "1 with nms: true, for each image has its own boxes", &count)
        }
        _ if options.nms && options.raw => wrong("raw", "false with nms: true, which needs decoded boxes", &true),
        _ => Ok(()),
    }
}

/// A file that is composed, and what it should give. What is not needed any more goes as soon as it can: beside the model
/// the weights are in memory twice at most.
struct Prepared {
    composed: Composed,
    expected: Expected,
    /// Where it suppresses: what it is composed of, and the shapes of its values.
    suppressed: Option<(Model, Vec<Shape>)>,
}

/// What is to be told of a file that gives what it should.
struct Verified {
    nodes: usize,
    outputs: Vec<(String, Vec<usize>)>,
    difference: f32,
}

impl Prepared {
    fn new(model: &Model, options: &ExportOptions) -> Result<Self, OnnxError> {
        let model = model.to_device(&Device::Cpu)?;
        // With half, what differs should be the arithmetic alone, not that weights were rounded.
        let whole = if options.half { None } else { Some(Expected::of(&model, options)?) };
        let folded = folded(&model, options.half)?;
        let expected = whole.map_or_else(|| Expected::of(&folded, options), Ok)?;
        let shapes = folded.graph().shapes([options.size; 2])?;
        let composed = compose(&folded, &shapes, options)?;
        let bytes = composed.file.encoded_len();
        if bytes > i32::MAX as usize {
            return Err(OnnxError::TooLarge { bytes });
        }
        Ok(Self { composed, expected, suppressed: options.nms.then_some((folded, shapes)) })
    }

    /// Runs what was written in another engine, and compares.
    fn verify(self, written: &Path, options: &ExportOptions) -> Result<Verified, OnnxError> {
        let Self { composed, expected, suppressed } = self;
        let nodes = composed.file.graph.as_ref().map_or(0, |graph| graph.node.len());
        if let Some((folded, shapes)) = suppressed {
            let difference = expected.verify_suppressed(&composed, (&folded, &shapes), options)?;
            return Ok(Verified { nodes, outputs: composed.outputs, difference });
        }
        let Composed { file, outputs } = composed;
        drop(file);
        Ok(Verified { nodes, difference: expected.verify(written, &outputs)?, outputs })
    }
}
