//! A teacher's outputs kept in a folder.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use candle_core::Tensor;

use super::{
    cache::Cache,
    tests::{data, pictures, settled, weights},
    *,
};
use crate::{
    data::Augment,
    exec::{Inference, Values},
    model::digest,
    progress::Silent,
    train::{FitOptions, Teacher, TermError},
};

/// A teacher that counts the images that it looks at.
struct Counting {
    inference: Inference,
    seen: Mutex<Vec<usize>>,
}

impl Teacher for Counting {
    fn values(&self, images: &Tensor) -> Result<Values, TermError> {
        self.seen.lock().unwrap().push(images.dim(0)?);
        Ok(self.inference.run(images)?)
    }
}

fn counting() -> Arc<Counting> {
    let model = settled("yolov5n", 0.125, 1);
    let taps = [model.graph().nodes().len() - 4];
    Arc::new(Counting { inference: Inference::new(&model, &taps).unwrap(), seen: Mutex::default() })
}

fn cache(teacher: &Arc<Counting>, key: &str, folder: &Path, gib: f64) -> Cache {
    Cache::new(Arc::clone(teacher) as _, key.into(), folder, gib)
}

fn numbers(values: &Values) -> Vec<f32> {
    let tensors = values.outputs.iter().chain(values.taps.values());
    tensors.flat_map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

#[test]
fn each_image_is_looked_at_once_and_known_by_its_pixels() {
    let (teacher, folder, images) = (counting(), tempfile::tempdir().unwrap(), pictures(6));
    let kept = folder.path().join("kept");
    let first = cache(&teacher, "a", &kept, 1.0);
    let part = |from, count| images.narrow(0, from, count).unwrap();
    let expected = |images: &Tensor| numbers(&teacher.inference.run(images).unwrap());
    assert_eq!(numbers(&first.values(&part(0, 3)).unwrap()), expected(&part(0, 3)));
    // Half of them are new; a second run finds all.
    assert_eq!(numbers(&first.values(&part(1, 4)).unwrap()), expected(&part(1, 4)));
    assert_eq!(*teacher.seen.lock().unwrap(), [3, 2]);
    let second = cache(&teacher, "a", &kept, 1.0);
    assert_eq!(numbers(&second.values(&part(0, 5)).unwrap()), expected(&part(0, 5)));
    assert_eq!(*teacher.seen.lock().unwrap(), [3, 2]);
    assert!(second.summary().contains("5 read from") && second.summary().contains(", 0 computed"));
    // Another teacher, and other pixels, are others.
    cache(&teacher, "b", &kept, 1.0).values(&part(0, 1)).unwrap();
    second.values(&(part(0, 1) * 0.5).unwrap()).unwrap();
    assert_eq!(*teacher.seen.lock().unwrap(), [3, 2, 1, 1]);
}

#[test]
fn the_folder_is_bounded() {
    let (teacher, folder, images) = (counting(), tempfile::tempdir().unwrap(), pictures(4));
    cache(&teacher, "a", folder.path(), 1.0).values(&images.narrow(0, 0, 1).unwrap()).unwrap();
    let size = |folder: &Path| {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let one = size(folder.path());
    // Room for two and a half, one of which is there already.
    let bounded = cache(&teacher, "a", folder.path(), 2.5 * one as f64 / (1u64 << 30) as f64);
    for _ in 0..2 {
        assert_eq!(numbers(&bounded.values(&images).unwrap()), numbers(&teacher.inference.run(&images).unwrap()));
        assert_eq!(size(folder.path()), 2 * one);
    }
    assert!(bounded.summary().contains("and 4 did not fit into it: raise `cache_gib`"), "{}", bounded.summary());
}

#[test]
fn a_damaged_file_is_named() {
    let (teacher, folder, images) = (counting(), tempfile::tempdir().unwrap(), pictures(1));
    let kept = cache(&teacher, "a", folder.path(), 1.0);
    kept.values(&images).unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, b"nothing").unwrap();
    let error = kept.values(&images).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("delete it"), "{error}");
}

#[test]
fn a_training_with_kept_outputs_is_the_same() {
    let (teacher, student) = (settled("yolov5n", 0.125, 1), settled("yolov5n", 0.0625, 2));
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let options = weights(&[("logits", 1.0), ("hint", 1.0), ("cwd", 0.1)]);
    let with = DistillOptions { cache: Some(kept.clone()), ..options.clone() };
    let fit = FitOptions { epochs: 3, batch: 3, size: 64, validate: false, ..FitOptions::default() };
    let fit = FitOptions { augment: Augment::none(), ..fit };
    let run = |options: &DistillOptions| {
        let distiller = Distiller::new(&teacher, &student, options.clone()).unwrap();
        digest(distiller.fit(&data(), &fit, &Silent).unwrap().last.tensors()).unwrap()
    };
    let plain = run(&options);
    assert_eq!([run(&with), run(&with)], [plain.clone(), plain]);
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 8);

    let augmented = FitOptions { augment: Augment::default(), ..fit.clone() };
    let distiller = Distiller::new(&teacher, &student, with).unwrap();
    let error = distiller.fit(&data(), &augmented, &Silent).unwrap_err().to_string();
    assert!(error.contains("`augment: false`"), "{error}");
}
