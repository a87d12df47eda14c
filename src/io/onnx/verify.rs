//! Whether a file gives what its model gives, by another engine.

use std::path::Path;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::compose::{Composed, Outputs, compose};
use super::engine::{Images, run, run_written};
use super::expected::{confidences, decoded, kept};
use super::options::{Batch, ExportOptions};
use crate::exec;
use crate::graph::Shape;
use crate::io::onnx_error::OnnxError;
use crate::model::Model;

/// The largest difference that is allowed, of pixels as of shares.
const ALLOWED: f32 = 1e-3;

/// What is allowed on top, as a share of the number: boxes of thousands of pixels are told to no more digits.
const RELATIVE: f64 = 1e-6;

/// Images that a file of any batch is tried with.
const TRIED: usize = 2;

/// Boxes that suppression is tried with.
const BOXES: usize = 200;

/// What a model gives for images of noise: what a file of it should give. The images are drawn anew when they are needed,
/// the same each time, so that none is held beside the weights.
pub(super) struct Expected {
    images: [usize; 4],
    outputs: Vec<Tensor>,
}

impl Expected {
    /// For as many images as the file takes.
    ///
    /// # Errors
    /// Where the model does not run.
    pub fn of(model: &Model, options: &ExportOptions) -> Result<Self, OnnxError> {
        let count = match options.batch {
            Batch::Fixed(count) => count,
            Batch::Dynamic => TRIED,
        };
        let images = [count, model.graph().image_channels().unwrap_or(3), options.size, options.size];
        let pixels = Tensor::from_vec(noise(images), &images, &Device::Cpu)?;
        let found = exec::infer(model, &pixels, &[])?.outputs;
        let outputs = if options.raw { found } else { vec![decoded(model.detector(), &found)?] };
        Ok(Self { images, outputs })
    }

    fn pixels(&self) -> Images {
        (noise(self.images), self.images)
    }

    /// The largest difference between the outputs of the file at a path, which suppresses nothing, in another engine, and these.
    ///
    /// # Errors
    /// Names the output where it is larger than is allowed, or has another shape; what the engine says.
    pub fn verify(&self, written: &Path, names: &Outputs) -> Result<f32, OnnxError> {
        let found = run_written(written, self.pixels())?;
        compare(names, &found, &self.outputs, difference)
    }

    /// The same for a file with suppression; `folded` is what it is composed of, and `shapes` are those of its values.
    ///
    /// Suppression decides, and numbers that are nearly equal may be decided either way: so the boxes that are decoded are held to
    /// those of the model, and what is kept of them to what should be kept of just these. Noise leaves hardly a box, so that a
    /// file of a lower confidence is looked at as well.
    ///
    /// # Errors
    /// As [`Expected::verify`].
    pub fn verify_suppressed(
        &self,
        file: &Composed,
        (folded, shapes): (&Model, &[Shape]),
        options: &ExportOptions,
    ) -> Result<f32, OnnxError> {
        let detector = folded.detector();
        let all = compose(folded, shapes, &ExportOptions { nms: false, ..*options })?;
        let found = run(&all.file, self.pixels())?;
        let largest = compare(&all.outputs, &found, &self.outputs, difference)?;
        let low = ExportOptions { conf: below(confidences(detector, &found[0])?, BOXES), ..*options };
        let trial = compose(folded, shapes, &low)?;
        [(file, options), (&trial, &low)].into_iter().try_fold(largest, |largest, (file, options)| {
            let expected = [kept(detector, &found[0], options)?];
            let found = run(&file.file, self.pixels())?;
            Ok(largest.max(compare(&file.outputs, &found, &expected, set_difference)?))
        })
    }
}

/// A threshold that so many of the numbers pass, in the middle between two of them.
fn below(mut numbers: Vec<f32>, count: usize) -> f32 {
    numbers.sort_by(|a, b| b.total_cmp(a));
    let at = |place: usize| numbers.get(place).copied().unwrap_or(0.0);
    (at(count - 1) + at(count)) / 2.0
}

/// How far what an output should be is from what it is, as it counts, and in absolute numbers.
type Difference = fn(&Tensor, &Tensor) -> candle_core::Result<[f32; 2]>;

fn compare(names: &Outputs, found: &[Tensor], expected: &[Tensor], by: Difference) -> Result<f32, OnnxError> {
    if found.len() != expected.len() {
        return Err(OnnxError::Layout(format!("it has {} outputs instead of {}", found.len(), expected.len())));
    }
    let mut largest = 0f32;
    for ((found, expected), (name, _)) in found.iter().zip(expected).zip(names) {
        if found.dims() != expected.dims() {
            let (found, expected) = (found.dims(), expected.dims());
            return Err(OnnxError::Layout(format!("`{name}` has shape {found:?} instead of {expected:?}")));
        }
        let [counting, difference] = by(found, expected)?;
        if counting.is_nan() || counting > ALLOWED {
            return Err(OnnxError::Differs { difference, output: name.clone(), allowed: ALLOWED });
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// Number by number.
fn difference(found: &Tensor, expected: &Tensor) -> candle_core::Result<[f32; 2]> {
    let absolute = (found - expected)?.abs()?.flatten_all()?;
    let counting = (&absolute - (expected.abs()? * RELATIVE)?.flatten_all()?)?;
    Ok([counting.max(0)?.to_scalar()?, absolute.max(0)?.to_scalar()?])
}

/// Row by row of one image, in any order: boxes of the same confidence may come either way.
fn set_difference(found: &Tensor, expected: &Tensor) -> candle_core::Result<[f32; 2]> {
    let rows = |tensor: &Tensor| tensor.squeeze(0)?.to_vec2::<f32>();
    let (found, expected) = (rows(found)?, rows(expected)?);
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    let farthest = |from: &[Vec<f32>], to: &[Vec<f32>]| {
        let nearest = |row: &Vec<f32>| to.iter().map(|other| apart(row, other)).fold(f32::INFINITY, f32::min);
        from.iter().map(nearest).fold(0f32, f32::max)
    };
    let both = farthest(&found, &expected).max(farthest(&expected, &found));
    Ok([both, both])
}

/// The pixels of images of noise, the same each time.
fn noise(shape: [usize; 4]) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    std::iter::repeat_with(|| random.random::<f32>()).take(shape.iter().product()).collect()
}
