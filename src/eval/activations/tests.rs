//! Statistics of layers, against their definition and the reference.

use super::*;
use crate::{
    data::{ShapesOptions, shapes},
    io::load,
    model::fixtures::tiny_detector,
    progress::Silent,
    testing::shared,
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
    let active = model.graph().find("model.0.act").unwrap();
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
    let active = model.graph().find("model.0.act").unwrap();
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

/// The weights' statistics beside those of the activations: both make the layers' table.
#[test]
fn layers_of_checkpoints_equal_the_goldens() {
    for name in ["yolov5n-coco", "yolov5n-bccd", "yolov8n-bccd"] {
        let (Some(file), Some(golden)) =
            (shared(&format!("models/{name}.pt")), shared(&format!("goldens/{name}.json")))
        else {
            return;
        };
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
        let model = load(file).unwrap();
        let rows = model.layers(640).unwrap();
        let golden_rows = golden["convs"].as_array().unwrap();
        assert_eq!(rows.len(), golden_rows.len(), "{name}");
        for expected in golden_rows {
            let row = rows.iter().find(|row| expected["name"] == row.name.as_str()).expect("a row of that name");
            let close = |found: f64, key: &str| {
                let expected = expected[key].as_f64().unwrap();
                let difference = (found - expected).abs();
                assert!(
                    difference <= 1e-4 * expected.abs() + 1e-8,
                    "{name}, {}, {key}: {found}, not {expected}",
                    row.name
                );
            };
            close(row.weight.mean, "mean");
            close(row.weight.std, "std");
            close(row.weight.abs_mean, "abs_mean");
            close(row.weight.abs_max, "max_abs");
            close(row.weight.l1, "l1");
            close(row.weight.l2, "l2");
            close(row.weight.near_zeros, "near_zero");
            close(row.params as f64, "params");
            close(row.macs as f64, "macs");
            close(row.stride[0] as f64, "stride");
            close(row.groups as f64, "groups");
            let out = [row.output.channels, row.output.height, row.output.width];
            assert_eq!(expected["out"], serde_json::json!(out), "{name}, {}", row.name);
            assert_eq!(expected["weight"][2], row.kernel[0]);
        }
        let params: u64 = rows.iter().map(|row| row.params + row.norm_params).sum();
        assert_eq!(golden["params"], params, "{name}");
        assert_eq!(golden["macs_640"], rows.iter().map(|row| row.macs).sum::<u64>(), "{name}");
        let detail = model.layer(&rows[1].name, 640, 32).unwrap();
        assert_eq!(detail.filters.len(), rows[1].output.channels);
        assert!(detail.filters.iter().all(|filter| filter.norm_scale.is_some()));
    }
}
