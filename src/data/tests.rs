//! Against the reference batch, and the epoch as a whole.

use std::sync::Arc;

use candle_core::Device;

use super::*;
use crate::testing::shared;

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
        assert_eq!([found.image as f32, found.class as f32], row[..2]);
        for (a, b) in [found.cx, found.cy, found.w, found.h].iter().zip(&row[2..]) {
            assert!((a - b).abs() < 1e-6, "{found:?} against {row:?}");
        }
    }
    // JPEG decoders may differ by a level or two where they upsample colour.
    assert!(worst <= 4. && mean < 0.3, "worst {worst}, mean {mean} levels");
}

#[test]
fn an_epoch_depends_on_seed_and_epoch_alone() {
    let data = shapes(&ShapesOptions { train: 11, val: 2, size: 64, ..Default::default() }).unwrap();
    let epoch = |threads: usize, seed, epoch| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = BatchOptions { size: 64, batch: 4, seed, epoch, ..Default::default() };
        let fresh = data.with_cache_bytes(if threads > 1 { 1 << 20 } else { 0 });
        pool.install(|| {
            Batches::train(fresh.split("train").unwrap(), &options).unwrap().map(|b| b.unwrap()).map(|b| (pixels(&b), b.targets, b.origins)).collect::<Vec<_>>()
        })
    };
    let first = epoch(1, 5, 2);
    assert_eq!(first.iter().map(|b| b.2.len()).collect::<Vec<_>>(), [4, 4, 3]);
    let mut seen: Vec<usize> = first.iter().flat_map(|b| b.2.iter().map(|o| o.sample)).collect();
    seen.sort();
    assert_eq!(seen, (0..11).collect::<Vec<_>>());
    assert_eq!(first, epoch(3, 5, 2));
    assert_ne!(first, epoch(1, 6, 2));
    assert_ne!(first, epoch(1, 5, 3));
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
