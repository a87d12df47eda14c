//! An epoch as batches of tensors, prepared ahead by a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::augment::{self, Augment};
use super::batch::{Batch, Origin, Target};
use super::dataset::Split;
use super::error::DataError;
use super::letterbox::{self, Letterbox};
use super::random::{Purpose, rng};
use crate::boxes::{Centred, Truth};
use crate::options::{OptionError, Options};

/// How an epoch of training batches is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchOptions {
    /// Side of the square images in pixels.
    pub size: usize,
    /// Images a batch; the last batch of an epoch may have fewer.
    pub batch: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Which epoch: another order and other augmentation for each.
    pub epoch: u64,
    /// How images are varied.
    pub augment: Augment,
    /// How many batches are prepared ahead.
    pub ahead: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { size: 640, batch: 16, seed: 0, epoch: 0, augment: Augment::default(), ahead: 2 }
    }
}

/// An iterator over the batches of an epoch. Batches are prepared ahead in the background, images in parallel on threads
/// of their own, so that those that compute never stop for a picture; what comes out does not depend on timing. Dropping
/// it stops the preparation.
///
/// Images that can't be decoded are left out of their batch and reported in [`Split::problems`]. If that leaves nothing of
/// the whole epoch, the only item is an error.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Batches {
    /// A shuffled, augmented epoch.
    ///
    /// # Errors
    /// An option out of its range.
    pub fn train(split: &Arc<Split>, options: &BatchOptions) -> Result<Self, DataError> {
        options.augment.check()?;
        let mut order: Vec<usize> = (0..split.samples.len()).collect();
        order.shuffle(&mut rng(options.seed, Purpose::Shuffle, options.epoch, 0));
        let BatchOptions { size, seed, epoch, augment, .. } = *options;
        Self::start(split, order, size, options.batch, options.ahead, move |split, index, output| {
            augment::compose(split, index, size, &augment, seed, epoch, output)
        })
    }

    /// All images in order, letterboxed.
    ///
    /// # Errors
    /// `size` or `batch` out of its range.
    pub fn eval(split: &Arc<Split>, size: usize, batch: usize) -> Result<Self, DataError> {
        let order = (0..split.samples.len()).collect();
        Self::start(split, order, size, batch, 2, move |split, index, output| plain(split, index, size, output))
    }

    fn start(
        split: &Arc<Split>,
        order: Vec<usize>,
        size: usize,
        batch: usize,
        ahead: usize,
        make: impl Fn(&Split, usize, &mut [f32]) -> Option<Vec<Target>> + Send + Sync + 'static,
    ) -> Result<Self, DataError> {
        for (key, found, most) in [("size", size, 8192), ("batch", batch, 4096), ("ahead", ahead, 64)] {
            if !(1..=most).contains(&found) {
                return Err(OptionError::value(key, format!("a whole number from 1 to {most}"), found).into());
            }
        }
        let split = split.clone();
        let loaders = rayon::ThreadPoolBuilder::new()
            // Half as many as compute: pictures take less than networks do, and more threads than processors slow both.
            .num_threads(rayon::current_num_threads().div_ceil(2))
            .thread_name(|index| format!("loader {index}"))
            .build()
            .map_err(|error| DataError::Loader(error.to_string()))?;
        let (sender, receiver) = sync_channel(ahead - 1);
        let produce = move || {
            let mut any = false;
            for indices in order.chunks(batch) {
                let made = match loaders.install(|| collect(&split, indices, size, &make)) {
                    Ok(None) => continue,
                    Ok(Some(batch)) => Ok(batch),
                    Err(error) => Err(error),
                };
                any = true;
                if sender.send(made).is_err() {
                    return;
                }
            }
            if !any {
                let first = split.problems().first().map_or_else(|| "the split is empty".into(), |p| p.to_string());
                // Nobody listening any more is no error.
                let _ = sender.send(Err(DataError::NothingReadable {
                    split: split.name.clone(),
                    images: order.len(),
                    first,
                }));
            }
        };
        let thread = thread::Builder::new()
            .name("batches".into())
            .spawn(produce)
            .map_err(|e| DataError::Loader(e.to_string()))?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(item) = self.receiver.as_ref()?.recv() {
            return Some(item);
        }
        self.receiver = None;
        let panicked = self.thread.take()?.join().err()?;
        let why = panicked.downcast_ref::<String>().map(String::as_str).or(panicked.downcast_ref::<&str>().copied());
        Some(Err(DataError::Loader(why.unwrap_or("it panicked").into())))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // The thread's next send fails, and it ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has nobody left to be told.
            let _ = thread.join();
        }
    }
}

/// Makes the images of a batch in parallel, in place; `None` when not one could be read.
fn collect(
    split: &Split,
    indices: &[usize],
    size: usize,
    make: &(impl Fn(&Split, usize, &mut [f32]) -> Option<Vec<Target>> + Sync),
) -> Result<Option<Batch>, DataError> {
    let length = 3 * size * size;
    let mut pixels = vec![0f32; indices.len() * length];
    let made: Vec<Option<Vec<Target>>> =
        pixels.par_chunks_mut(length).zip(indices).map(|(output, &index)| make(split, index, output)).collect();
    let (mut targets, mut origins) = (Vec::new(), Vec::new());
    for (place, (found, &sample)) in made.into_iter().zip(indices).enumerate() {
        let Some(found) = found else { continue };
        let image = origins.len();
        if image < place {
            pixels.copy_within(place * length..(place + 1) * length, image * length);
        }
        targets.extend(found.into_iter().map(|t| Target { image, ..t }));
        let (width, height) = (split.samples[sample].width, split.samples[sample].height);
        origins.push(Origin { sample, width, height, letterbox: Letterbox::new(width, height, size) });
    }
    if origins.is_empty() {
        return Ok(None);
    }
    pixels.truncate(origins.len() * length);
    let images = Tensor::from_vec(pixels, (origins.len(), 3, size, size), &Device::Cpu)?;
    Ok(Some(Batch { images, targets, origins }))
}

fn plain(split: &Split, index: usize, size: usize, output: &mut [f32]) -> Option<Vec<Target>> {
    let sample = &split.samples[index];
    let fit = Letterbox::new(sample.width, sample.height, size);
    letterbox::place(&*split.fitted(index, size)?, &fit, size, output);
    let (w, h, side) = (sample.width as f32, sample.height as f32, size as f32);
    let targets = sample.boxes.iter().map(|&Truth { class, bounds: Centred { cx, cy, w: width, h: height } }| {
        let bounds = Centred {
            cx: (cx * w * fit.scale + fit.left as f32) / side,
            cy: (cy * h * fit.scale + fit.top as f32) / side,
            w: width * w * fit.scale / side,
            h: height * h * fit.scale / side,
        };
        Target { image: 0, truth: Truth { class, bounds } }
    });
    Some(targets.collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex};

    use super::*;
    use crate::data::{ShapesOptions, shapes};

    #[test]
    fn threads_that_compute_make_no_pictures() {
        let data = shapes(&ShapesOptions { train: 9, val: 1, size: 32, ..ShapesOptions::default() }).unwrap();
        let split = data.split("train").unwrap();
        let makers: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let make = {
            let makers = makers.clone();
            move |_: &Split, _: usize, _: &mut [f32]| {
                makers.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
                Some(Vec::new())
            }
        };
        let held = Arc::strong_count(split);
        let mut batches = Batches::start(split, (0..9).collect(), 32, 2, 2, make).unwrap();
        assert_eq!(batches.next().unwrap().unwrap().origins.len(), 2);
        drop(batches);
        assert_eq!(Arc::strong_count(split), held, "the preparation goes on");
        let makers = makers.lock().unwrap();
        assert!(!makers.is_empty() && makers.iter().all(|name| name.starts_with("loader")), "{makers:?}");
    }
}
