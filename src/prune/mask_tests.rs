//! Masks on their way through whatever makes a new model of an old one.

use candle_core::Tensor;

use super::{
    tests::{difference, fixture, images, loose},
    *,
};
use crate::{
    graph::Role,
    io,
    model::{Model, Tensors},
    train::with_classes,
};

/// A model that holds all weights of small magnitude at zero.
fn masked(which: usize) -> Model {
    let model = fixture(which, 3);
    let weights = model.graph().parameters().filter(|(_, _, parameter)| parameter.role == Role::Weight);
    let mask = |tensor: &Tensor| tensor.abs().unwrap().ge(0.1f32).unwrap();
    let masks: Tensors = weights.map(|(_, name, _)| (name.clone(), mask(&model.tensors()[&name]))).collect();
    model.with_masks(masks).unwrap()
}

/// Asserts that the model has masks, and zeros wherever they hold a weight; gives its sparsity.
fn sparsity(model: &Model) -> f64 {
    assert!(!model.masks().is_empty());
    for (name, mask) in model.masks() {
        let tensor = &model.tensors()[name];
        let apart = (tensor - (tensor * mask).unwrap()).unwrap().abs().unwrap().sum_all().unwrap();
        assert_eq!(apart.to_scalar::<f32>().unwrap(), 0.0, "{name}");
    }
    let sparsity = model.sparsity().unwrap();
    assert!(sparsity > 0.05, "{sparsity}");
    sparsity
}

#[test]
fn masks_are_sliced_when_channels_go() {
    for which in 0..5 {
        let model = masked(which);
        let plan = Pruner::new(&model, loose(Amount::Ratio(0.4))).unwrap().plan().unwrap();
        let pruned = apply(&model, &plan).unwrap();
        sparsity(&pruned);
        for (name, mask) in pruned.masks() {
            assert_eq!(mask.dims(), pruned.tensors()[name].dims());
        }
        assert!(difference(&zero(&model, &plan).unwrap(), &pruned, 16) <= 1e-4);
    }
}

#[test]
fn masks_stay_through_files_classes_and_recalibration() {
    let model = masked(0);
    let held = sparsity(&model);
    let folder = tempfile::tempdir().unwrap();
    for precision in [io::Precision::Fp32, io::Precision::Fp16] {
        let path = folder.path().join("masked.safetensors");
        io::save(&model, &path, precision).unwrap();
        let again = io::load(&path).unwrap();
        assert_eq!(sparsity(&again), held);
        for (name, mask) in model.masks() {
            let flat = |mask: &Tensor| mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(mask), flat(&again.masks()[name]), "{name}");
        }
        // A byte a weight, beside four or two.
        let bytes = |model: &Model| {
            io::save(model, &path, precision).unwrap();
            std::fs::metadata(&path).unwrap().len()
        };
        let bare = model.with_masks(Tensors::new()).unwrap();
        let weights: usize = model.masks().values().map(Tensor::elem_count).sum();
        assert!(bytes(&model) < bytes(&bare) + weights as u64 + 200 * model.masks().len() as u64);
    }
    assert_eq!(sparsity(&recalibrate_on(&model, [Ok(images(32))]).unwrap()), held);
    let wider = with_classes(&model, &["thing", "other"].map(String::from), 0).unwrap();
    sparsity(&wider);
    // New filters are free.
    let rows = |model: &Model| model.masks()["model.8.m.0.weight"].dims()[0];
    assert_eq!((rows(&model), rows(&wider)), (6, 7));
    let last = wider.masks()["model.8.m.0.weight"].get(6).unwrap();
    assert_eq!(last.min_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
}

#[test]
fn tables_show_what_is_held() {
    let model = masked(0);
    let rows = model.layers(64).unwrap();
    assert!(rows.iter().all(|row| row.masked.is_some_and(|held| held <= row.weight.zeros + 1e-9)));
    assert!(rows.iter().any(|row| row.masked.is_some_and(|held| held > 0.0)));
    assert!(fixture(0, 3).layers(64).unwrap().iter().all(|row| row.masked.is_none()));
}
