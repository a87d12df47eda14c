//! Statistics of weights, against their definition.

use super::*;
use crate::model::fixtures::tiny_detector;

#[test]
fn numbers_by_definition() {
    let found = Statistics::of(&[3.0, -4.0, 0.0, 5e-4]);
    assert_eq!((found.count, found.abs_max, found.zeros, found.near_zeros), (4, 4.0, 0.25, 0.5));
    assert!((found.l1 - 7.0005).abs() < 1e-6 && (found.abs_mean - 7.0005 / 4.0).abs() < 1e-6);
    assert!((found.l2 - 5.0).abs() < 1e-6 && (found.mean + 0.999_5 / 4.0).abs() < 1e-6);
    let variance = 25.0 / 4.0 - (0.9995f64 / 4.0).powi(2);
    assert!((found.std - variance.sqrt()).abs() < 1e-6);
    assert_eq!(Statistics::of(&[]), Statistics { count: 0, ..Statistics::of(&[]) });
    assert_eq!(Statistics::of(&[]).mean, 0.0);
    assert_eq!(Statistics::of(&[0.1; 7]).std, 0.0);
}

#[test]
fn histograms() {
    let found = Histogram::of(&[0.0, 1.0, 1.9, 2.0, f32::NAN], 2);
    assert_eq!(found, Histogram { low: 0.0, high: 2.0, counts: vec![1, 3] });
    assert_eq!(Histogram::of(&[5.0; 3], 4).counts, [3, 0, 0, 0]);
    assert_eq!(Histogram::of(&[], 3).counts, [0, 0, 0]);
    assert_eq!(Histogram::of(&[f32::MIN, f32::MAX], 2).counts, [1, 1]);
}

#[test]
fn rows_cover_the_network() {
    let model = tiny_detector(2);
    let rows = model.layers(64).unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["model.0.conv", "model.1.m.0"]);
    let cost = model.cost(64).unwrap();
    assert_eq!(rows.iter().map(|row| row.params + row.norm_params).sum::<u64>(), cost.params);
    assert_eq!(rows.iter().map(|row| row.macs).sum::<u64>(), cost.macs);
    assert!((rows.iter().map(|row| row.macs_share).sum::<f64>() - 1.0).abs() < 1e-12);
    let scale = model.tensors["model.0.bn.weight"].to_vec1::<f32>().unwrap();
    let range = [scale.iter().copied().fold(f32::MAX, f32::min), scale.iter().copied().fold(f32::MIN, f32::max)];
    assert_eq!(rows[0].norm_scale, Some(range));
    assert_eq!((rows[1].norm_scale, rows[1].norm_params), (None, 0));
    assert!(model.layers(3).is_ok() && model.layers(0).is_err());
}

#[test]
fn a_layer_filter_by_filter() {
    let model = tiny_detector(2);
    let detail = model.layer("model.0", 64, 10).unwrap();
    assert_eq!(detail.layer, model.layers(64).unwrap()[0]);
    assert_eq!(detail.histogram.counts.iter().sum::<u64>(), 4 * 3 * 9);
    assert_eq!(detail.filters.len(), 4);
    let l1: f64 = detail.filters.iter().map(|filter| filter.weight.l1).sum();
    assert!((l1 - detail.layer.weight.l1).abs() < 1e-9);
    let shift = model.tensors["model.0.bn.bias"].to_vec1::<f32>().unwrap();
    assert!(detail.filters.iter().zip(&shift).all(|(filter, &shift)| filter.norm_shift == Some(shift)));
    let head = model.layer("model.1.m.0", 64, 10).unwrap();
    assert!(head.filters.iter().all(|filter| filter.bias.is_some() && filter.norm_scale.is_none()));
}

#[test]
fn layers_that_are_none() {
    let message = |name: &str| tiny_detector(2).layer(name, 64, 10).unwrap_err().to_string();
    assert_eq!(message("model.0.cov"), "`model.0.cov`: there is no such layer (did you mean \"model.0.conv\"?)");
    assert_eq!(message("model"), "`model`: 2 layers are inside; name one of them, such as `model.0.conv`");
}
