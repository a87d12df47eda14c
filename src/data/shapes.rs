//! The built-in dataset: shapes drawn from a seed, no files needed.

use std::sync::Arc;

use rayon::prelude::*;

use super::dataset::{DEFAULT_CACHE_BYTES, Dataset, ImageSource, Sample};
use super::error::DataError;
use super::scene::{Drawing, Scene};
use super::shape::Kind;
use crate::options::{OptionError, Options, options};

options! {
    /// What to draw. Image `i` of a split depends on `seed`, `size`, `classes` and `i` alone: asking for more images only
    /// adds some.
    pub struct ShapesOptions {
        /// Images in the split `train`.
        pub train: usize = 256, 1..=10_000_000;
        /// Images in the split `val`.
        pub val: usize = 64, 1..=10_000_000;
        /// Side of the square images in pixels.
        pub size: usize = 160, 32..=4096;
        /// Seed of everything.
        pub seed: u64 = 0;
        /// Which classes, in this order.
        pub classes: Vec<String> = Kind::NAMES.iter().map(|&name| name.to_owned()).collect(), Kind::NAMES;
    }
}

/// Shapes of six classes on noisy backgrounds: varied size, rotation, colour, contrast and texture, overlapping, among
/// strokes and specks that are none. Images are drawn when first used and then kept like those of files.
///
/// # Errors
/// An option out of its range, or an unknown class.
pub fn shapes(options: &ShapesOptions) -> Result<Dataset, DataError> {
    options.check()?;
    let kinds = kinds(&options.classes)?;
    let names = kinds.iter().map(|k| k.name().to_string()).collect();
    let split = |name: &'static str, count: usize| {
        let samples = (0..count).into_par_iter().map(|index| {
            let drawing = Drawing { seed: options.seed, split: name, index, size: options.size, kinds: kinds.clone() };
            let boxes = Scene::new(&drawing).boxes();
            let (source, side) = (ImageSource::Drawn(drawing), options.size);
            Sample { source, width: side, height: side, boxes, labelled: true }
        });
        (name.to_string(), samples.collect(), Vec::new())
    };
    let splits = vec![split("train", options.train), split("val", options.val)];
    Ok(Dataset::new("shapes".into(), names, splits, DEFAULT_CACHE_BYTES))
}

fn kinds(classes: &[String]) -> Result<Arc<[Kind]>, OptionError> {
    let kinds = classes.iter().map(|class| class.parse()).collect::<Result<Vec<Kind>, _>>()?;
    let repeated = kinds.iter().enumerate().any(|(at, kind)| kinds[..at].contains(kind));
    if kinds.is_empty() || repeated {
        let expected = format!("an array of different names of {}", Kind::NAMES.join(", "));
        return Err(OptionError::value("classes", expected, format!("{classes:?}")));
    }
    Ok(kinds.into())
}
