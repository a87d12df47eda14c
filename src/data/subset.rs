//! Few of the labels: what a training is worth when only some images are labelled.

use rand::seq::SliceRandom;

use super::dataset::{Dataset, Sample, TRAIN};
use super::error::DataError;
use super::random::{Purpose, rng};
use crate::options::{OptionError, Options, options};

options! {
    /// Which of the training images and labels stay.
    pub struct SubsetOptions {
        /// Labelled images of the split train that stay; all unless given.
        pub train: Option<usize> = None, 1..=10_000_000;
        /// Whether the other images of that split stay too, without their labels.
        pub keep_unlabelled: bool = false;
        /// Seed of the choice.
        pub seed: u64 = 0;
    }
}

impl Dataset {
    /// The same dataset with so many labelled images in its split `train`, chosen by the seed; more of the same seed include
    /// the fewer. All other images of that split go, or lose their labels. Images without a label file are never chosen.
    /// Other splits stay as they are.
    ///
    /// # Errors
    /// An option out of its range, or more images than are labelled.
    pub fn subset(&self, options: &SubsetOptions) -> Result<Self, DataError> {
        options.check()?;
        let split = self.split(TRAIN)?;
        let (mut labelled, others): (Vec<usize>, Vec<usize>) =
            (0..split.samples.len()).partition(|&index| split.samples[index].labelled);
        let wanted = options.train.unwrap_or(labelled.len());
        if wanted > labelled.len() || wanted == 0 {
            let expected = format!("a whole number from 1 to {}, the labelled images of {}", labelled.len(), self.name);
            return Err(OptionError::value("train", expected, wanted).into());
        }
        labelled.shuffle(&mut rng(options.seed, Purpose::Subset, 0, 0));
        let mut dropped = labelled.split_off(wanted);
        dropped.extend(others);
        for indices in [&mut labelled, &mut dropped] {
            indices.sort_unstable();
        }
        let without_labels = |sample: &Sample| Sample { boxes: Vec::new(), labelled: false, ..sample.clone() };
        let unlabelled: Vec<Sample> = if options.keep_unlabelled {
            let dropped = dropped.iter().map(|&index| without_labels(&split.samples[index]));
            split.unlabelled.iter().cloned().chain(dropped).collect()
        } else {
            Vec::new()
        };
        let samples = labelled.iter().map(|&index| split.samples[index].clone()).collect();
        let kept = if unlabelled.is_empty() { String::new() } else { format!(" and {} unlabelled", unlabelled.len()) };
        let name = format!("{} ({wanted} labelled{kept} of train, seed {})", self.name, options.seed);
        Ok(self.with_train(name, samples, unlabelled, split.problems()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::data::{ShapesOptions, shapes};

    fn data() -> Dataset {
        shapes(&ShapesOptions { train: 12, val: 3, size: 64, ..ShapesOptions::default() }).unwrap()
    }

    fn subset(data: &Dataset, train: usize, seed: u64) -> Dataset {
        data.subset(&SubsetOptions { train: Some(train), keep_unlabelled: true, seed }).unwrap()
    }

    fn names(samples: &[Sample]) -> BTreeSet<String> {
        samples.iter().map(|sample| sample.source.label()).collect()
    }

    #[test]
    fn all_images_stay_and_some_lose_their_labels() {
        let data = data();
        let few = subset(&data, 5, 1);
        let (before, train) = (data.split(TRAIN).unwrap(), few.split(TRAIN).unwrap());
        assert_eq!((train.samples.len(), train.unlabelled.len()), (5, 7));
        let both = &names(&train.samples) | &names(&train.unlabelled);
        assert_eq!(both, names(&before.samples));
        for sample in &train.samples {
            let given = before.samples.iter().find(|other| other.source.label() == sample.source.label()).unwrap();
            assert!(sample.labelled && sample.boxes == given.boxes);
        }
        assert!(train.unlabelled.iter().all(|sample| !sample.labelled && sample.boxes.is_empty()));
        assert!(Arc::ptr_eq(data.split("val").unwrap(), few.split("val").unwrap()));
        let rows = few.summary();
        assert_eq!((rows[0].images, rows[0].unlabelled, rows[1].images), (5, 7, 3));
        let kept = few.with_cache_bytes(0);
        assert_eq!(kept.split(TRAIN).unwrap().unlabelled.len(), 7);
    }

    #[test]
    fn the_choice_is_the_seeds_and_grows() {
        let data = data();
        let chosen = |train, seed| names(&subset(&data, train, seed).split(TRAIN).unwrap().samples);
        assert_eq!(chosen(5, 1), chosen(5, 1));
        assert!(chosen(5, 1) != chosen(5, 2) || chosen(5, 1) != chosen(5, 3));
        assert!(chosen(5, 1).is_subset(&chosen(8, 1)));
        // Of a subset, no others are labelled, and none is lost.
        let smaller = subset(&subset(&data, 5, 1), 2, 7);
        let train = smaller.split(TRAIN).unwrap();
        assert!(names(&train.samples).is_subset(&chosen(5, 1)));
        assert_eq!((train.samples.len(), train.unlabelled.len()), (2, 10));
    }

    #[test]
    fn without_the_others_only_the_chosen_stay() {
        let few = data().subset(&SubsetOptions { train: Some(5), ..SubsetOptions::default() }).unwrap();
        let train = few.split(TRAIN).unwrap();
        assert_eq!((train.samples.len(), train.unlabelled.len()), (5, 0));
        let error = data().subset(&SubsetOptions { train: Some(13), ..SubsetOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("from 1 to 12"), "{error}");
    }
}
