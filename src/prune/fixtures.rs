//! Small networks with every structure that YOLO detectors have, for the tests.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    graph::{Activation, BatchNorm, Conv, Graph, MaxPool, NodeId, Op, Role},
    model::{Detector, Head, Model, Provenance, Tensors},
};

/// Builds graphs block by block.
pub(super) struct Builder {
    pub(super) graph: Graph,
    activation: Activation,
}

impl Builder {
    pub(super) fn new(activation: Activation) -> Self {
        let mut graph = Graph::new();
        graph.add("images", Op::Input { channels: 3 }, &[]);
        Self { graph, activation }
    }

    fn channels(&self, id: NodeId) -> usize {
        self.graph.channels().unwrap()[id]
    }

    /// Convolution, normalisation, activation.
    pub(super) fn block(&mut self, name: &str, from: NodeId, out: usize, kernel: usize, stride: usize) -> NodeId {
        let conv = Conv::same(self.channels(from), out, kernel, stride);
        self.block_of(name, from, conv)
    }

    pub(super) fn block_of(&mut self, name: &str, from: NodeId, conv: Conv) -> NodeId {
        let norm = BatchNorm { channels: conv.out_channels, eps: 1e-3, momentum: 0.03 };
        let value = self.graph.add(format!("{name}.conv"), Op::Conv(conv), &[from]);
        let value = self.graph.add(format!("{name}.bn"), Op::BatchNorm(norm), &[value]);
        self.graph.add(format!("{name}.act"), Op::Activation(self.activation), &[value])
    }

    fn bottleneck(&mut self, name: &str, from: NodeId) -> NodeId {
        let width = self.channels(from);
        let inner = self.block(&format!("{name}.cv1"), from, width, 1, 1);
        let inner = self.block(&format!("{name}.cv2"), inner, width, 3, 1);
        self.graph.add(format!("{name}.add"), Op::Add, &[from, inner])
    }

    pub(super) fn c3(&mut self, name: &str, from: NodeId, out: usize, depth: usize) -> NodeId {
        let mut long = self.block(&format!("{name}.cv1"), from, out / 2, 1, 1);
        for index in 0..depth {
            long = self.bottleneck(&format!("{name}.m.{index}"), long);
        }
        let short = self.block(&format!("{name}.cv2"), from, out / 2, 1, 1);
        let cat = self.graph.add(format!("{name}.cat"), Op::Concat, &[long, short]);
        self.block(&format!("{name}.cv3"), cat, out, 1, 1)
    }

    pub(super) fn c2f(&mut self, name: &str, from: NodeId, out: usize, depth: usize) -> NodeId {
        let wide = self.block(&format!("{name}.cv1"), from, out, 1, 1);
        let half = out / 2;
        let first = self.graph.add(format!("{name}.split.0"), Op::Slice { start: 0, len: half }, &[wide]);
        let second = self.graph.add(format!("{name}.split.1"), Op::Slice { start: half, len: half }, &[wide]);
        let mut parts = vec![first, second];
        for index in 0..depth {
            let last = parts[parts.len() - 1];
            parts.push(self.bottleneck(&format!("{name}.m.{index}"), last));
        }
        let cat = self.graph.add(format!("{name}.cat"), Op::Concat, &parts);
        self.block(&format!("{name}.cv2"), cat, out, 1, 1)
    }

    pub(super) fn sppf(&mut self, name: &str, from: NodeId, out: usize) -> NodeId {
        let mut parts = vec![self.block(&format!("{name}.cv1"), from, out / 2, 1, 1)];
        for index in 0..3 {
            let pool = Op::MaxPool(MaxPool { kernel: 5, stride: 1, padding: 2 });
            parts.push(self.graph.add(format!("{name}.m.{index}"), pool, &[parts[index]]));
        }
        let cat = self.graph.add(format!("{name}.cat"), Op::Concat, &parts);
        self.block(&format!("{name}.cv2"), cat, out, 1, 1)
    }

    fn up_and_concat(&mut self, name: &str, from: NodeId, other: NodeId) -> NodeId {
        let up = self.graph.add(format!("{name}.up"), Op::Upsample { scale: 2 }, &[from]);
        self.graph.add(format!("{name}.cat"), Op::Concat, &[up, other])
    }

    fn head(&mut self, name: &str, from: NodeId, out: usize) -> NodeId {
        let conv = Conv { bias: true, ..Conv::same(self.channels(from), out, 1, 1) };
        self.graph.add(name, Op::Conv(conv), &[from])
    }

    pub(super) fn finish(mut self, outputs: Vec<NodeId>, head: Head, strides: Vec<usize>, seed: u64) -> Model {
        self.graph.set_outputs(outputs);
        let tensors = random_tensors(&self.graph, seed);
        let detector = Detector::new(vec!["thing".into()], strides, head);
        let provenance = Provenance { name: "fixture".into(), ..Provenance::default() };
        Model::new(self.graph, tensors, detector, provenance).unwrap()
    }
}

fn random_tensors(graph: &Graph, seed: u64) -> Tensors {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = Tensors::new();
    for (_, name, parameter) in graph.parameters() {
        let count: usize = parameter.shape.iter().product();
        let fan: usize = parameter.shape[1..].iter().product();
        let mut uniform = |low: f32, high: f32| -> Vec<f32> {
            (0..count).map(|_| low + (high - low) * random.random::<f32>()).collect()
        };
        let bound = (3.0 / fan as f32).sqrt();
        let values = match parameter.role {
            Role::Weight => uniform(-bound, bound),
            Role::Bias | Role::NormShift | Role::RunningMean => uniform(-0.5, 0.5),
            Role::NormScale => uniform(-1.5, 1.5),
            Role::RunningVar => uniform(0.3, 2.0),
        };
        tensors.insert(name, Tensor::from_vec(values, parameter.shape, &Device::Cpu).unwrap());
    }
    tensors
}

/// Like YOLOv5: C3, SPPF, a neck that concatenates, anchors.
pub(super) fn anchored(seed: u64) -> Model {
    let mut b = Builder::new(Activation::Silu);
    let stem = b.block("model.0", 0, 8, 3, 2);
    let p2 = b.block("model.1", stem, 16, 3, 2);
    let p2 = b.c3("model.2", p2, 16, 2);
    let p3 = b.block("model.3", p2, 32, 3, 2);
    let p3 = b.sppf("model.4", p3, 32);
    let p3 = b.block("model.5", p3, 16, 1, 1);
    let neck = b.up_and_concat("model.6", p3, p2);
    let neck = b.c3("model.7", neck, 16, 1);
    let outputs = vec![b.head("model.8.m.0", neck, 6), b.head("model.8.m.1", p3, 6)];
    b.finish(outputs, Head::Anchors { anchors: vec![vec![[10.0, 13.0]]; 2] }, vec![4, 8], seed)
}

/// Like YOLOv8: C2f with slices, two towers a level, one of them depthwise.
pub(super) fn towers(seed: u64, activation: Activation) -> Model {
    let mut b = Builder::new(activation);
    let stem = b.block("model.0", 0, 8, 3, 2);
    let p2 = b.c2f("model.1", stem, 16, 2);
    let p3 = b.block("model.2", p2, 24, 3, 2);
    let p3 = b.c2f("model.3", p3, 24, 1);
    let mut outputs = Vec::new();
    for (level, from) in [p2, p3].into_iter().enumerate() {
        let tower = b.block(&format!("model.4.cv2.{level}.0"), from, 8, 3, 1);
        let tower = b.block(&format!("model.4.cv2.{level}.1"), tower, 8, 3, 1);
        outputs.push(b.head(&format!("model.4.cv2.{level}.2"), tower, 16));
        let width = b.channels(from);
        let depthwise = Conv { groups: width, ..Conv::same(width, width, 3, 1) };
        let tower = b.block_of(&format!("model.4.cv3.{level}.0"), from, depthwise);
        let tower = b.block(&format!("model.4.cv3.{level}.1"), tower, 8, 1, 1);
        outputs.push(b.head(&format!("model.4.cv3.{level}.2"), tower, 1));
    }
    b.finish(outputs, Head::Distribution { reg_max: 4 }, vec![2, 4], seed)
}

/// Grouped convolutions, a depth multiplier, a slice that drops channels, convolutions without normalisation.
pub(super) fn grouped(seed: u64) -> Model {
    let mut b = Builder::new(Activation::LeakyRelu { slope: 0.1 });
    let stem = b.block("model.0", 0, 12, 3, 2);
    let four = b.block_of("model.1", stem, Conv { groups: 4, ..Conv::same(12, 16, 3, 1) });
    let bare = Conv { bias: true, ..Conv::same(16, 10, 1, 1) };
    let bare = b.graph.add("model.2", Op::Conv(bare), &[four]);
    let multiplied = b.block_of("model.3", bare, Conv { groups: 10, bias: true, ..Conv::same(10, 20, 3, 1) });
    let part = b.graph.add("model.4", Op::Slice { start: 4, len: 12 }, &[multiplied]);
    let cat = b.graph.add("model.5", Op::Concat, &[part, stem, part]);
    let last = b.block("model.6", cat, 8, 1, 1);
    let last = b.head("model.7", last, 8);
    let outputs = vec![b.head("model.8", last, 6)];
    b.finish(outputs, Head::Anchors { anchors: vec![vec![[10.0, 13.0]]] }, vec![2], seed)
}
