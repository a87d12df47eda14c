//! A dataset: class names and splits of samples, whose images are read when asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;

use super::cache::{Budget, ImageCache};
use super::error::{DataError, Problem};
use super::letterbox::Letterbox;
use super::{paint, picture, resize, scene};
use crate::boxes::{Centred, Truth};

/// How many bytes of decoded images a dataset keeps in memory unless told otherwise: 2 GiB.
pub const DEFAULT_CACHE_BYTES: usize = 2 << 30;

/// Class names and the splits (`train`, `val`, perhaps `test`). Cloning is cheap: splits and their caches are shared.
///
/// ```
/// use espalier::data::{Batches, ShapesOptions, shapes};
///
/// let mut drawn = ShapesOptions::default();
/// (drawn.train, drawn.val) = (4, 2);
/// let data = shapes(&drawn)?; // or dataset("data.yaml")?
/// let train = data.split("train")?;
/// assert_eq!(train.samples.len(), 4);
/// for batch in Batches::eval(train, 160, 2)? {
///     assert_eq!(batch?.images.dims(), [2, 3, 160, 160]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What to call it in messages and tables: the path of its `data.yaml`, or `shapes`.
    pub name: String,
    /// Class names; a label's class is an index into them.
    pub names: Vec<String>,
    /// The splits in the order train, val, test.
    pub splits: Vec<Arc<Split>>,
    budget: Arc<Budget>,
}

impl Dataset {
    pub(crate) fn new(
        name: String,
        names: Vec<String>,
        splits: Vec<(String, Vec<Sample>, Vec<Problem>)>,
        cache_bytes: usize,
    ) -> Self {
        let budget = Budget::new(cache_bytes);
        let splits = splits
            .into_iter()
            .map(|(name, samples, problems)| Split::new(name, samples, Vec::new(), problems, &budget))
            .collect();
        Self { name, names, splits, budget }
    }

    /// The same dataset by another name, with these samples in the split `train`; other splits are shared.
    pub(crate) fn with_train(
        &self,
        name: String,
        samples: Vec<Sample>,
        unlabelled: Vec<Sample>,
        problems: Vec<Problem>,
    ) -> Self {
        let train = Split::new(TRAIN.into(), samples, unlabelled, problems, &self.budget);
        let splits =
            self.splits.iter().map(|split| if split.name == TRAIN { train.clone() } else { split.clone() }).collect();
        Self { name, names: self.names.clone(), splits, budget: self.budget.clone() }
    }

    /// The split of that name, or an error that lists the splits there are.
    pub fn split(&self, name: &str) -> Result<&Arc<Split>, DataError> {
        self.splits.iter().find(|s| s.name == name).ok_or_else(|| DataError::NoSuchSplit {
            dataset: self.name.clone(),
            split: name.into(),
            have: self.splits.iter().map(|s| s.name.clone()).collect(),
        })
    }

    /// The same dataset with an empty cache of at most `bytes` of decoded images, all splits together.
    pub fn with_cache_bytes(&self, bytes: usize) -> Self {
        let budget = Budget::new(bytes);
        let again =
            |s: &Arc<Split>| Split::new(s.name.clone(), s.samples.clone(), s.unlabelled.clone(), s.problems(), &budget);
        let splits = self.splits.iter().map(again).collect();
        Self { name: self.name.clone(), names: self.names.clone(), splits, budget }
    }

    /// Bytes of decoded images in memory now, and the most there may be.
    pub fn cache_bytes(&self) -> (usize, usize) {
        (self.budget.used(), self.budget.limit())
    }

    /// Everything found wrong so far, in all splits (see [`Split::problems`]).
    pub fn problems(&self) -> Vec<Problem> {
        self.splits.iter().flat_map(|s| s.problems()).collect()
    }
}

/// A list of samples, with what was found wrong with them and a cache of their images.
#[derive(Debug)]
pub struct Split {
    /// `train`, `val` or `test`.
    pub name: String,
    /// The usable images and their boxes, sorted by path.
    pub samples: Vec<Sample>,
    /// Images whose labels are not known, which count in no training or evaluation by labels; only a
    /// [subset](Dataset::subset) keeps such.
    pub unlabelled: Vec<Sample>,
    problems: Mutex<Vec<Problem>>,
    cache: ImageCache,
}

/// The split that models are trained on.
pub(crate) const TRAIN: &str = "train";

impl Split {
    fn new(
        name: String,
        samples: Vec<Sample>,
        unlabelled: Vec<Sample>,
        problems: Vec<Problem>,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let cache = ImageCache::new(budget.clone());
        Arc::new(Self { name, samples, unlabelled, problems: Mutex::new(problems), cache })
    }

    /// What was found wrong so far. Opening a dataset reads labels and image headers; an image whose header is right
    /// but whose pixels can't be decoded joins the list when it is first used.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The image of a sample at its original size; not cached.
    pub fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        self.samples[index].image()
    }

    /// The image of a sample resized so that it just fits a square of `size` pixels, from the cache if it is there.
    /// `None` for an image that can't be decoded: it then is among the [`problems`](Self::problems).
    pub fn fitted(&self, index: usize, size: usize) -> Option<Arc<RgbImage>> {
        if let Some(known) = self.cache.get(index, size) {
            return known;
        }
        let sample = &self.samples[index];
        let image = match sample.image() {
            Ok(image) => {
                let fit = Letterbox::new(sample.width, sample.height, size);
                Some(Arc::new(resize::resize_bilinear_owned(image, fit.width as u32, fit.height as u32)))
            }
            Err(error) => {
                self.report(sample.problem(&error));
                None
            }
        };
        self.cache.put(index, size, image.as_ref());
        image
    }

    fn report(&self, problem: Problem) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

/// One image with its boxes.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Where the pixels come from.
    pub source: ImageSource,
    /// Width of the original image in pixels.
    pub width: usize,
    /// Height of the original image in pixels.
    pub height: usize,
    /// The labelled boxes, relative to the image's width and height as in a label file; none for a background image.
    pub boxes: Vec<Truth<Centred>>,
    /// Whether it has a label file, be it an empty one. An image without one counts as background like that, unless labels
    /// are taken from a teacher.
    pub labelled: bool,
}

impl Sample {
    /// Decodes or draws the image.
    pub fn image(&self) -> Result<RgbImage, DataError> {
        match &self.source {
            ImageSource::File(path) => {
                let image = picture::read_image(path)?;
                if (image.width() as usize, image.height() as usize) != (self.width, self.height) {
                    return Err(DataError::Image {
                        file: path.clone(),
                        what: format!(
                            "the image changed while in use: {}x{} pixels when the dataset was opened, {}x{} now; open the dataset again",
                            self.width,
                            self.height,
                            image.width(),
                            image.height()
                        ),
                    });
                }
                Ok(image)
            }
            ImageSource::Drawn(scene) => Ok(paint::paint(scene)),
        }
    }

    /// That its image could not be read, as a problem.
    pub(crate) fn problem(&self, error: &DataError) -> Problem {
        match error {
            DataError::Image { file, what } => Problem::file(file, what.clone()),
            DataError::Read { file, why } => Problem::file(file, format!("cannot be read: {why}")),
            other => Problem::file(self.source.label(), other.to_string()),
        }
    }
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// A JPEG, PNG, BMP or WebP file.
    File(PathBuf),
    /// A scene of the built-in dataset, drawn when needed.
    Drawn(scene::Drawing),
}

impl ImageSource {
    /// The path, or a name for a drawn image.
    pub fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Drawn(id) => id.to_string(),
        }
    }
}
