//! The built-in dataset: shapes drawn from a seed, no files needed.

use std::sync::Arc;

use rayon::prelude::*;

use super::dataset::{DEFAULT_CACHE_BYTES, Dataset, ImageSource, Sample};
use super::error::DataError;
use super::scene::{Drawing, Scene};
use super::shape::Kind;

/// What to draw. Image `i` of a split depends on `seed`, `size`, `classes` and `i` alone: asking for more images only
/// adds some.
#[derive(Debug, Clone)]
pub struct ShapesOptions {
    /// Images in the split `train`.
    pub train: usize,
    /// Images in the split `val`.
    pub val: usize,
    /// Side of the square images in pixels, 32 to 4096.
    pub size: usize,
    /// Seed of everything.
    pub seed: u64,
    /// Which classes, in this order: of `circle`, `square`, `triangle`, `star`, `ring`, `cross`.
    pub classes: Vec<String>,
}

impl Default for ShapesOptions {
    fn default() -> Self {
        Self {
            train: 256,
            val: 64,
            size: 160,
            seed: 0,
            classes: Kind::ALL.iter().map(|k| k.name().to_string()).collect(),
        }
    }
}

/// Shapes of six classes on noisy backgrounds: varied size, rotation, colour, contrast and texture, overlapping, among
/// strokes and specks that are none. Images are drawn when first used and then kept like those of files.
///
/// # Errors
/// An option out of its range, or an unknown class.
pub fn shapes(options: &ShapesOptions) -> Result<Dataset, DataError> {
    let kinds = kinds(&options.classes)?;
    for (option, found, least, most) in
        [("train", options.train, 1, 10_000_000), ("val", options.val, 1, 10_000_000), ("size", options.size, 32, 4096)]
    {
        if !(least..=most).contains(&found) {
            return Err(DataError::Option {
                option,
                found: found.to_string(),
                expected: format!("a number from {least} to {most}"),
            });
        }
    }
    let names = kinds.iter().map(|k| k.name().to_string()).collect();
    let split = |name: &'static str, count: usize| {
        let samples = (0..count).into_par_iter().map(|index| {
            let drawing = Drawing { seed: options.seed, split: name, index, size: options.size, kinds: kinds.clone() };
            let boxes = Scene::new(&drawing).boxes();
            Sample { source: ImageSource::Drawn(drawing), width: options.size, height: options.size, boxes }
        });
        (name.to_string(), samples.collect(), Vec::new())
    };
    let splits = vec![split("train", options.train), split("val", options.val)];
    Ok(Dataset::new("shapes".into(), names, splits, DEFAULT_CACHE_BYTES))
}

fn kinds(classes: &[String]) -> Result<Arc<[Kind]>, DataError> {
    let wrong = |found: String| DataError::Option {
        option: "classes",
        found,
        expected: format!("a list of different names of {}", Kind::ALL.map(Kind::name).join(", ")),
    };
    let mut kinds = Vec::new();
    for class in classes {
        match Kind::ALL.into_iter().find(|k| k.name() == class) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            _ => return Err(wrong(format!("{class:?}"))),
        }
    }
    if kinds.is_empty() { Err(wrong("an empty list".into())) } else { Ok(kinds.into()) }
}
