use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::*;
use crate::{exec, testing::shared};

const MODELS: [&str; 3] = ["yolov5n-coco", "yolov5n-bccd", "yolov8n-bccd"];

fn stored(name: &str) -> Option<HashMap<String, Tensor>> {
    shared(&format!("goldens/{name}.safetensors"))
        .map(|path| candle_core::safetensors::load(path, &Device::Cpu).unwrap())
}

fn largest_difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    (found - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// A head's maps in the shapes of the reference: anchors and their numbers apart for YOLOv5, all places one after
/// another for YOLOv8.
fn heads(model: &Model, outputs: &[Tensor]) -> Vec<Tensor> {
    match &model.detector.head {
        crate::model::Head::Anchors { anchors } => {
            let split = |(map, level): (&Tensor, &Vec<[f32; 2]>)| {
                let (n, c, h, w) = map.dims4().unwrap();
                let apart = map.reshape((n, level.len(), c / level.len(), h, w)).unwrap();
                apart.permute((0, 1, 3, 4, 2)).unwrap().contiguous().unwrap()
            };
            outputs.iter().zip(anchors).map(split).collect()
        }
        crate::model::Head::Distribution { .. } => {
            let flat = |first: usize| {
                let maps: Vec<Tensor> =
                    outputs.iter().skip(first).step_by(2).map(|map| map.flatten_from(2).unwrap()).collect();
                Tensor::cat(&maps, 2).unwrap()
            };
            vec![flat(0), flat(1)]
        }
    }
}

#[test]
fn checkpoints_give_the_reference_outputs() {
    let Some(batch) = stored("batch") else { return };
    let image = batch["images"].narrow(0, 0, 1).unwrap();
    for name in MODELS {
        let model = load(shared(&format!("models/{name}.pt")).unwrap()).unwrap();
        let goldens = stored(name).unwrap();
        let taps: Vec<(String, usize)> = goldens
            .keys()
            .filter_map(|key| key.strip_prefix("tap."))
            .map(|path| (path.to_owned(), model.graph.module_output(path).unwrap()))
            .collect();
        assert!(taps.len() >= 5);
        let ids: Vec<usize> = taps.iter().map(|(_, id)| *id).collect();
        let values = exec::infer(&model, &image, &ids).unwrap();
        for (path, id) in &taps {
            let difference = largest_difference(&values.taps[id], &goldens[&format!("tap.{path}")]);
            assert!(difference <= 1e-3, "{name} {path}: {difference}");
        }
        for (index, head) in heads(&model, &values.outputs).iter().enumerate() {
            let difference = largest_difference(head, &goldens[&format!("head.{index}")]);
            assert!(difference <= 1e-3, "{name} head {index}: {difference}");
        }
    }
}

/// What the reference says of a checkpoint.
#[derive(serde::Deserialize)]
struct Facts {
    params: u64,
    macs_640: u64,
    names: Vec<String>,
    stride: Vec<f64>,
    anchors: Option<Vec<Vec<[f32; 2]>>>,
    reg_max: Option<usize>,
    convs: Vec<ConvFacts>,
}

#[derive(serde::Deserialize)]
struct ConvFacts {
    name: String,
    weight: [usize; 4],
    stride: usize,
    groups: usize,
    params: u64,
    macs: u64,
    mean: f64,
    std: f64,
    l1: f64,
    max_abs: f64,
    out: [usize; 3],
}

#[test]
fn checkpoints_have_the_reference_parameters_macs_and_facts() {
    for name in MODELS {
        let Some(path) = shared(&format!("goldens/{name}.json")) else { return };
        let facts: Facts = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let model = load(shared(&format!("models/{name}.pt")).unwrap()).unwrap();
        let cost = model.cost(640).unwrap();
        assert_eq!((cost.params, cost.macs), (facts.params, facts.macs_640), "{name}");
        assert_eq!(model.detector.classes, facts.names);
        let strides: Vec<f64> = model.detector.strides.iter().map(|&stride| stride as f64).collect();
        assert_eq!(strides, facts.stride);
        match &model.detector.head {
            crate::model::Head::Anchors { anchors } => assert_eq!(Some(anchors), facts.anchors.as_ref()),
            crate::model::Head::Distribution { reg_max } => assert_eq!(Some(*reg_max), facts.reg_max),
        }
        let costs = model.graph.costs([640, 640]).unwrap();
        let shapes = model.graph.shapes([640, 640]).unwrap();
        let nodes = model.graph.nodes().iter().enumerate();
        let convs: Vec<_> = nodes.filter(|(_, node)| matches!(node.op, crate::graph::Op::Conv(_))).collect();
        assert_eq!(convs.len(), facts.convs.len());
        for ((id, node), expected) in convs.into_iter().zip(&facts.convs) {
            let crate::graph::Op::Conv(conv) = &node.op else { unreachable!() };
            assert_eq!(node.name, expected.name);
            assert_eq!(
                (conv.weight_shape(), conv.stride, conv.groups),
                (expected.weight, [expected.stride; 2], expected.groups)
            );
            assert_eq!((costs[id].params, costs[id].macs), (expected.params, expected.macs), "{name} {}", node.name);
            assert_eq!([shapes[id].channels, shapes[id].height, shapes[id].width], expected.out);
            check_weights(&model, expected);
        }
    }
}

fn check_weights(model: &Model, expected: &ConvFacts) {
    let weight = &model.tensors[&format!("{}.weight", expected.name)];
    let values: Vec<f64> = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let l1 = values.iter().map(|value| value.abs()).sum::<f64>();
    let max_abs = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (found, expected) in
        [(mean, expected.mean), (std, expected.std), (l1, expected.l1), (max_abs, expected.max_abs)]
    {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1e-2), "{found} against {expected}");
    }
}
