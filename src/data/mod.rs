//! Images and boxes: datasets on disk and the built-in one, letterboxing, augmentation, batches.
//!
//! [`dataset`] opens a `data.yaml`, [`shapes`] draws a dataset from a seed. Both give a [`Dataset`]: class names and
//! named [`Split`]s of [`Sample`]s. [`Batches`] turns a split into an epoch of tensors, in the background.
//! What is wrong in somebody's files is reported as a [`Problem`], counted and skipped; what makes a dataset unusable is
//! a [`DataError`].

mod augment;
mod batch;
mod batches;
mod cache;
mod dataset;
mod error;
mod files;
mod labels;
mod letterbox;
mod paint;
mod picture;
mod random;
mod render;
mod resize;
mod scene;
mod shape;
mod shapes;
mod subset;
mod summary;
mod yaml;

pub use augment::Augment;
pub use batch::{Batch, Origin, Target};
pub use batches::{BatchOptions, Batches};
pub use dataset::{DEFAULT_CACHE_BYTES, Dataset, ImageSource, Sample, Split};
pub use error::{DataError, Problem};
pub use letterbox::{Letterbox, letterbox, letterbox_tensor};
pub use picture::read_image;
pub use resize::resize_bilinear;
pub use scene::Drawing;
pub use shapes::{ShapesOptions, shapes};
pub use subset::SubsetOptions;
pub use summary::SplitSummary;
pub use yaml::dataset;

#[cfg(test)]
mod tests;
