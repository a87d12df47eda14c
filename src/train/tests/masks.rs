//! Weights that a model's masks hold at zero, through training.

use candle_core::{Device, Tensor};

use super::{StopAfter, dataset, quick, tiny, values};
use crate::{
    model::{Model, Tensors},
    progress::Silent,
    train::{checkpoint_error::CheckpointError, error::TrainError, fit, options::FitOptions},
};

const NAME: &str = "model.0.conv.weight";

/// Every other weight of the first convolution is held.
fn masked(model: &Model) -> Model {
    let shape = model.tensors()[NAME].dims().to_vec();
    let mask: Vec<f32> = (0..shape.iter().product()).map(|index| (index % 2) as f32).collect();
    let mask = Tensor::from_vec(mask, shape, &Device::Cpu).unwrap();
    model.with_masks(Tensors::from([(NAME.to_string(), mask)])).unwrap()
}

fn check(trained: &Model, before: &Model) {
    let flat = |model: &Model| model.tensors()[NAME].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (index, (after, before)) in flat(trained).iter().zip(flat(before)).enumerate() {
        assert_eq!(*after == 0.0, index % 2 == 0, "{index}");
        assert!(index % 2 == 0 || *after != before, "{index}");
    }
    let mask = |model: &Model| model.masks()[NAME].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(mask(trained), mask(before), "the model that a run gives has the masks still");
}

#[test]
fn they_stay_zero_through_fit_and_resume() {
    let (data, model) = (dataset(6), masked(&tiny("yolov8n")));
    let folder = tempfile::tempdir().unwrap();
    let options = FitOptions { folder: Some(folder.path().join("run")), epochs: 2, weight_decay: 0.01, ..quick() };
    let whole = fit(&model, &data, &FitOptions { folder: None, ..options.clone() }, &Silent).unwrap();
    for trained in [&whole.last, &whole.model] {
        check(trained, &model);
    }
    // Two steps make an epoch: the second session begins with a best model from a file.
    let stopped = fit(&model, &data, &options, &StopAfter::steps(4)).unwrap();
    assert!(stopped.stopped);
    let resume = FitOptions { resume: stopped.folder, ..FitOptions::default() };
    let error = fit(&tiny("yolov8n"), &data, &resume, &Silent).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { source: CheckpointError::Masks, .. }), "{error}");
    let resumed = fit(&model, &data, &resume, &Silent).unwrap();
    assert_eq!(values(&resumed.last), values(&whole.last));
    for trained in [&resumed.last, &resumed.model] {
        check(trained, &model);
    }
}
