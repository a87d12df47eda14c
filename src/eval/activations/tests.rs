use super::*;
use crate::{
    data::{ShapesOptions, shapes},
    model::fixtures::tiny_detector,
    progress::Silent,
};

fn drawn() -> Dataset {
    shapes(&ShapesOptions { train: 5, val: 1, size: 32, ..ShapesOptions::default() }).unwrap()
}

fn options(images: usize, batch: usize) -> ActivationOptions {
    ActivationOptions { images, batch, size: 32, ..ActivationOptions::default() }
}

/// By definition, from the tapped values of all images at once.
#[test]
fn activations_are_those_of_the_units() {
    let (model, data) = (tiny_detector(6), drawn());
    let rows = activations(&model, &data, &options(5, 2), &Silent).unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["model.0.conv", "model.1.m.0"]);
    let batch = Batches::eval(data.split("train").unwrap(), 32, 5).unwrap().next().unwrap().unwrap();
    let active = model.graph.find("model.0.act").unwrap();
    let value = exec::infer(&model, &batch.images, &[active]).unwrap().taps.remove(&active).unwrap();
    let expected = Statistics::of(&value.flatten_all().unwrap().to_vec1().unwrap());
    let found = rows[0].activation;
    assert_eq!((found.count, found.abs_max), (expected.count, expected.abs_max));
    for (found, expected) in [(found.mean, expected.mean), (found.std, expected.std), (found.zeros, expected.zeros)] {
        assert!((found - expected).abs() < 1e-9, "{found} against {expected}");
    }
    let three = activations(&model, &data, &options(3, 2), &Silent).unwrap();
    assert_eq!(three[0].activation.count * 5, found.count * 3);
    let all = activations(&model, &data, &options(99, 2), &Silent).unwrap();
    assert_eq!(all, rows);
}

/// The loss Σ output has gradient 1 for every output, so that of the head's weight is the sum of what it reads.
#[test]
fn gradients_are_those_of_the_loss() {
    let (model, data) = (tiny_detector(6), drawn());
    let ones: LossGradients = &|_, outputs| Ok(vec![outputs[0].ones_like()?]);
    let found = gradients(&model, &data, &options(2, 2), ones, &Silent).unwrap();
    let batch = Batches::eval(data.split("train").unwrap(), 32, 2).unwrap().next().unwrap().unwrap();
    let active = model.graph.find("model.0.act").unwrap();
    let value = exec::train(&model, &batch.images, &[active]).unwrap().values.taps.remove(&active).unwrap();
    let sums: Vec<f32> = value.sum((0, 2, 3)).unwrap().to_vec1().unwrap();
    let expected = sums.iter().map(|sum| f64::from(sum.abs())).sum::<f64>() / sums.len() as f64;
    assert_eq!(found[1].0, "model.1.m.0");
    assert!((found[1].1 - expected).abs() < 1e-4 * expected, "{} against {expected}", found[1].1);
    assert!(found[0].1 > 0.0);
    let fails: LossGradients = &|_, _| Err("no labels".into());
    let error = gradients(&model, &data, &options(2, 2), fails, &Silent).unwrap_err().to_string();
    assert_eq!(error, "the loss could not be computed: no labels");
}

#[test]
fn options_out_of_range() {
    let (model, data) = (tiny_detector(6), drawn());
    for wrong in [options(0, 2), options(2, 0), ActivationOptions { size: 33, ..options(2, 2) }] {
        assert!(matches!(activations(&model, &data, &wrong, &Silent), Err(EvalError::Option { .. })));
    }
}
