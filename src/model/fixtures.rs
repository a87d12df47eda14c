//! Models for tests.

use candle_core::{Device, Tensor};

use super::{
    detector::{Detector, Head},
    value::{Model, Provenance, Tensors},
};
use crate::graph::{Activation, BatchNorm, Conv, Graph, Op};

/// A network whose outputs no head reads.
pub(crate) fn headless(graph: Graph, tensors: Tensors) -> Model {
    let detector = Detector::new(Vec::new(), vec![1], Head::Anchors { anchors: Vec::new() });
    let provenance = Provenance::default();
    Model { graph: graph.into(), tensors, masks: Tensors::new(), detector, provenance }
}

/// A small detector with weights from a formula: two convolutions with normalisation between them, stride 8, one anchor a cell.
pub(crate) fn tiny_detector(classes: usize) -> Model {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 3 }, &[]);
    let stem = graph.add("model.0.conv", Op::Conv(Conv::same(3, 4, 3, 8)), &[image]);
    let norm = BatchNorm { channels: 4, eps: 1e-3, momentum: 0.03 };
    let normed = graph.add("model.0.bn", Op::BatchNorm(norm), &[stem]);
    let active = graph.add("model.0.act", Op::Activation(Activation::Silu), &[normed]);
    let head = Conv { bias: true, ..Conv::same(4, 5 + classes, 1, 1) };
    let detect = graph.add("model.1.m.0", Op::Conv(head), &[active]);
    graph.set_outputs(vec![detect]);
    let mut tensors = Tensors::new();
    for (index, (_, name, parameter)) in graph.parameters().enumerate() {
        let count: usize = parameter.shape.iter().product();
        let value =
            |i: usize| ((i * 37 + index * 11) % 23) as f32 / 23.0 - if name.ends_with("bn.weight") { 0.0 } else { 0.4 };
        let values = (0..count).map(|i| if name.ends_with("running_var") { 1.0 } else { value(i) }).collect();
        tensors.insert(name.clone(), Tensor::from_vec(values, parameter.shape, &Device::Cpu).unwrap());
    }
    let classes = (0..classes).map(|class| format!("class {class}")).collect();
    let detector = Detector::new(classes, vec![8], Head::Anchors { anchors: vec![vec![[16.0, 16.0]]] });
    Model::new(graph, tensors, detector, Provenance { name: "tiny".into(), ..Provenance::default() }).unwrap()
}
