//! Against the reference batch, and the epoch as a whole.

mod bad_input;
mod pixels;

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use image::{Rgb, RgbImage};

use super::*;
use crate::testing::shared;

/// A folder with a dataset of one class and one image a split, to be spoilt or added to.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for split in ["train", "val"] {
            folder.picture(&format!("images/{split}/a.png"), 40, 30);
            folder.write(&format!("labels/{split}/a.txt"), "0 0.5 0.5 0.2 0.4\n");
        }
        folder.write("data.yaml", "train: images/train\nval: images/val\nnames: [cell]\n");
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn picture(&self, name: &str, width: u32, height: u32) {
        self.write(name, "");
        RgbImage::from_pixel(width, height, Rgb([10, 200, 90])).save(self.path(name)).unwrap();
    }

    fn open(&self) -> Result<Dataset, DataError> {
        dataset(self.path("data.yaml"))
    }

    fn error(&self) -> String {
        self.open().unwrap_err().to_string()
    }

    fn problems(&self) -> Vec<String> {
        self.open()
            .unwrap()
            .problems()
            .iter()
            .map(|p| p.to_string().replace(&self.path("").display().to_string(), ""))
            .collect()
    }
}

fn bccd() -> Option<Dataset> {
    Some(dataset(shared("data/bccd/data.yaml")?).unwrap())
}

fn pixels(batch: &Batch) -> Vec<f32> {
    batch.images.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn opens_bccd() {
    let Some(data) = bccd() else { return };
    assert_eq!(data.names, ["RBC", "WBC", "Platelets"]);
    let counts: Vec<_> = data.splits.iter().map(|s| (s.name.as_str(), s.samples.len())).collect();
    assert_eq!(counts, [("train", 205), ("val", 87), ("test", 72)]);
    assert_eq!(data.summary().iter().map(|s| s.boxes).sum::<usize>(), 4888);
    assert_eq!(data.summary()[0].smallest, (640, 480));
    assert_eq!(data.problems(), []);
}

#[test]
fn letterbox_matches_the_reference_batch() {
    let Some(data) = bccd() else { return };
    let Some(file) = shared("goldens/batch.safetensors") else { return };
    let golden = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let batch = Batches::eval(data.split("val").unwrap(), 320, 4).unwrap().next().unwrap().unwrap();
    let expected: Vec<f32> = golden["images"].flatten_all().unwrap().to_vec1().unwrap();
    let differences: Vec<f32> = pixels(&batch).iter().zip(&expected).map(|(a, b)| (a - b).abs() * 255.).collect();
    let worst = differences.iter().copied().fold(0., f32::max);
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    println!("worst {worst}, mean {mean} levels");
    let targets: Vec<Vec<f32>> = golden["targets"].to_vec2().unwrap();
    assert_eq!(batch.targets.len(), targets.len());
    for (found, row) in batch.targets.iter().zip(&targets) {
        assert_eq!([found.image as f32, found.truth.class as f32], row[..2]);
        let crate::boxes::Centred { cx, cy, w, h } = found.truth.bounds;
        for (a, b) in [cx, cy, w, h].iter().zip(&row[2..]) {
            assert!((a - b).abs() < 1e-6, "{found:?} against {row:?}");
        }
    }
    // JPEG decoders may differ by a level or two where they upsample colour.
    assert!(worst < 4.5 && mean < 0.3, "worst {worst}, mean {mean} levels");
}

#[test]
fn an_epoch_depends_on_seed_and_epoch_alone() {
    let data = shapes(&ShapesOptions { train: 11, val: 2, size: 64, ..Default::default() }).unwrap();
    let epoch = |cache_bytes, seed, epoch| {
        let options = BatchOptions { size: 64, batch: 4, seed, epoch, ..Default::default() };
        let data = data.with_cache_bytes(cache_bytes);
        let batches = Batches::train(data.split("train").unwrap(), &options).unwrap().map(|b| b.unwrap());
        batches.map(|b| (pixels(&b), b.targets, b.origins)).collect::<Vec<_>>()
    };
    let first = epoch(1 << 20, 5, 2);
    assert_eq!(first.iter().map(|b| b.2.len()).collect::<Vec<_>>(), [4, 4, 3]);
    let mut seen: Vec<usize> = first.iter().flat_map(|b| b.2.iter().map(|o| o.sample)).collect();
    assert!(!seen.is_sorted());
    seen.sort();
    assert_eq!(seen, (0..11).collect::<Vec<_>>());
    assert_eq!(first, epoch(0, 5, 2));
    assert_ne!(first, epoch(1 << 20, 6, 2));
    assert_ne!(first, epoch(1 << 20, 5, 3));
    // The same images one by one, backwards, on this thread.
    let split = data.split("train").unwrap();
    for (batch, image) in (0..3).flat_map(|b| (0..first[b].2.len()).map(move |i| (b, i))).rev() {
        let (all, targets, origins) = &first[batch];
        let mut output = vec![0f32; 3 * 64 * 64];
        let found = augment::compose(split, origins[image].sample, 64, &Augment::default(), 5, 2, &mut output).unwrap();
        assert_eq!(output, all[image * output.len()..][..output.len()]);
        let expected: Vec<Target> =
            targets.iter().filter(|t| t.image == image).map(|t| Target { image: 0, ..*t }).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn without_augmentation_training_images_are_letterboxed() {
    let data = shapes(&ShapesOptions { train: 3, val: 1, size: 100, ..Default::default() }).unwrap();
    let split = data.split("train").unwrap();
    let options = BatchOptions { size: 96, batch: 1, augment: Augment::none(), ..Default::default() };
    let plain: Vec<Batch> = Batches::eval(split, 96, 1).unwrap().map(|b| b.unwrap()).collect();
    for batch in Batches::train(split, &options).unwrap() {
        let batch = batch.unwrap();
        let expected = &plain[batch.origins[0].sample];
        assert_eq!(batch.targets.len(), expected.targets.len());
        let worst = pixels(&batch).iter().zip(pixels(expected)).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
        assert!(worst < 1e-6, "{worst}");
    }
}

#[test]
fn dropping_an_epoch_stops_it() {
    let data = shapes(&ShapesOptions { train: 4000, val: 1, size: 64, ..Default::default() }).unwrap();
    let split = data.split("train").unwrap();
    let mut batches = Batches::train(split, &BatchOptions { size: 64, batch: 4, ..Default::default() }).unwrap();
    assert!(batches.next().unwrap().is_ok());
    drop(batches);
    assert_eq!(Arc::strong_count(split), 1, "the thread has let go of the split");
}

#[test]
fn layouts_of_a_data_yaml() {
    let folder = Folder::new();
    folder.picture("images/train/deep/images/b.jpg", 20, 20);
    folder.write("images/train/deep/labels/b.txt", "0 0.5 0.5 1 1\n1 0.25 0.25 0.5 0.5\n");
    folder.write("images/train/.hidden.jpg", "no image, and none of ours");
    folder.write("images/train/notes.md", "not an image either");
    folder.write("val.txt", "./images/val/a.png\n\nimages/train/a.png\n");
    let root = folder.path("").display().to_string();
    let yamls = [
        "train: images/train\nval: val.txt\nnames: [cell, 7]\n".to_string(),
        "path: .\ntrain: [images/train]\nval: [val.txt, images/val]\ntest:\nnc: 2\nnames: {0: cell, 1: 7}\n".into(),
        format!("path: {root}\ntrain: {root}images/train\nval: ./val.txt\nnames:\n  1: 7\n  0: cell\ndownload: no\n"),
        "train: ../images/train\nval: ../val.txt\nnames: ['cell', '7']\n".into(),
    ];
    for yaml in yamls {
        folder.write("data.yaml", &yaml);
        let data = folder.open().unwrap();
        assert_eq!(data.names, ["cell", "7"], "{yaml}");
        assert_eq!(data.problems(), [], "{yaml}");
        let boxes: Vec<Vec<usize>> =
            data.splits.iter().map(|s| s.samples.iter().map(|s| s.boxes.len()).collect()).collect();
        assert_eq!(boxes, [vec![1, 2], vec![1, 1]], "{yaml}");
    }
}

#[test]
fn the_summary_counts() {
    let folder = Folder::new();
    folder.picture("images/train/b.png", 100, 20);
    folder.write("labels/train/a.txt", "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.2 0.2\n9 0 0 1 1\n");
    let rows = folder.open().unwrap().summary();
    assert_eq!(rows.len(), 2);
    let train = &rows[0];
    assert_eq!(
        (train.split.as_str(), train.images, train.background, train.boxes, train.problems),
        ("train", 2, 1, 2, 1)
    );
    assert_eq!(train.classes, [("cell".to_string(), 2)]);
    assert_eq!((train.smallest, train.largest), ((40, 20), (100, 30)));
    assert!((train.box_size - (20f32 * 15.).sqrt()).abs() < 1e-4);
}

#[test]
fn images_without_a_label_file_are_background_until_a_subset_is_taken() {
    let folder = Folder::new();
    folder.picture("images/train/b.png", 20, 20);
    folder.picture("images/train/c.png", 20, 20);
    folder.write("labels/train/c.txt", "");
    let data = folder.open().unwrap();
    let train = data.split("train").unwrap();
    assert_eq!(train.samples.iter().map(|s| s.labelled).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((data.summary()[0].background, data.summary()[0].unlabelled), (2, 0));
    let subset = data.subset(&SubsetOptions { keep_unlabelled: true, ..SubsetOptions::default() }).unwrap();
    let row = &subset.summary()[0];
    assert_eq!((row.images, row.background, row.unlabelled), (2, 1, 1));
}

#[test]
fn shapes_depend_on_seed_and_index_alone() {
    let options = ShapesOptions { train: 6, val: 3, size: 96, seed: 4, ..Default::default() };
    let few = shapes(&options).unwrap();
    let more = shapes(&ShapesOptions { train: 9, ..options.clone() }).unwrap();
    let other = shapes(&ShapesOptions { seed: 5, ..options.clone() }).unwrap();
    for (name, index) in [("train", 0), ("train", 5), ("val", 2)] {
        let [a, b, c] = [&few, &more, &other].map(|d| d.split(name).unwrap());
        assert_eq!(a.samples[index].boxes, b.samples[index].boxes);
        assert_eq!(a.image(index).unwrap(), b.image(index).unwrap());
        assert_ne!(a.image(index).unwrap(), c.image(index).unwrap());
    }
    assert_ne!(few.splits[0].image(0).unwrap(), few.splits[1].image(0).unwrap());
    let two = shapes(&ShapesOptions { classes: vec!["star".into(), "ring".into()], ..options }).unwrap();
    assert_eq!(two.names, ["star", "ring"]);
    assert!(two.splits.iter().flat_map(|s| &s.samples).flat_map(|s| &s.boxes).all(|b| b.class < 2));
}

#[test]
fn the_cache_is_used_and_counted() {
    let data = shapes(&ShapesOptions { train: 4, val: 1, size: 64, ..Default::default() })
        .unwrap()
        .with_cache_bytes(3 * 64 * 64 * 2);
    let split = data.split("train").unwrap();
    let first = split.fitted(0, 64).unwrap();
    assert!(Arc::ptr_eq(&first, &split.fitted(0, 64).unwrap()));
    for index in 1..4 {
        split.fitted(index, 64).unwrap();
    }
    assert_eq!(data.cache_bytes(), (3 * 64 * 64 * 2, 3 * 64 * 64 * 2));
    assert!(!Arc::ptr_eq(&split.fitted(3, 64).unwrap(), &split.fitted(3, 64).unwrap()), "there was no room for it");
}
