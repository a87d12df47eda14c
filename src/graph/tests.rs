//! Names, shapes, costs, and what hostile descriptions ask for.

use super::*;

fn residual() -> Graph {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 3 }, &[]);
    let stem = graph.add("model.0.conv", Op::Conv(Conv::same(3, 8, 3, 2)), &[image]);
    let norm = BatchNorm { channels: 8, eps: 1e-3, momentum: 0.03 };
    let normed = graph.add("model.0.bn", Op::BatchNorm(norm), &[stem]);
    let branch = graph.add("model.1.conv", Op::Conv(Conv::same(8, 8, 3, 1)), &[normed]);
    let sum = graph.add("model.1.add", Op::Add, &[normed, branch]);
    graph.set_outputs(vec![sum]);
    graph
}

#[test]
fn shapes_costs_and_names() {
    let graph = residual();
    graph.validate().unwrap();
    let shapes = graph.shapes([32, 48]).unwrap();
    assert_eq!(shapes[4], Shape { channels: 8, height: 16, width: 24 });
    let costs = graph.costs([32, 48]).unwrap();
    assert_eq!(costs[1], Cost { params: 3 * 8 * 9, macs: 3 * 8 * 9 * 16 * 24 });
    assert_eq!(costs[2].params, 16);
    assert_eq!(graph.module_output("model.1"), Some(4));
    assert_eq!(graph.module_output("model"), Some(4));
    assert_eq!(graph.find("model.0.bn"), Some(2));
    assert_eq!(graph.parameters().count(), 6);
}

#[test]
fn survives_serde() {
    let graph = residual();
    let text = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
}

#[test]
fn misfits_are_named() {
    let mut graph = residual();
    graph.add("model.2.conv", Op::Conv(Conv::same(9, 4, 1, 1)), &[4]);
    let error = graph.validate().unwrap_err().to_string();
    assert!(error.contains("model.2.conv") && error.contains('9') && error.contains('8'), "{error}");
    let mut graph = residual();
    graph.add("model.0.bn", Op::Concat, &[4]);
    assert!(matches!(graph.validate(), Err(GraphError::DuplicateName { .. })));
    let mut graph = residual();
    graph.add("model.3", Op::Concat, &[7]);
    assert!(matches!(graph.validate(), Err(GraphError::BadInput { input: 7, .. })));
}

#[test]
fn sizes_beyond_reason_are_named_errors() {
    let error = |graph: Graph| graph.costs([640, 640]).unwrap_err().to_string();
    // Weights: channels and kernels whose product is beyond 64 bits.
    let mut graph = residual();
    let conv = Conv { kernel: [1 << 40; 2], ..Conv::same(8, 8, 1, 1) };
    graph.add("model.9.huge", Op::Conv(conv), &[4]);
    let weight = error(graph);
    assert!(weight.contains("model.9.huge") && weight.contains("too large"), "{weight}");
    // Channels that need no weights at all.
    let mut graph = residual();
    for step in 0..62 {
        let last = graph.nodes().len() - 1;
        graph.add(format!("double.{step}"), Op::Concat, &[last, last]);
    }
    assert!(error(graph).contains("double.13"));
    // Maps: upsampling again and again.
    let mut graph = residual();
    for step in 0..12 {
        let last = graph.nodes().len() - 1;
        graph.add(format!("up.{step}"), Op::Upsample { scale: 64 }, &[last]);
    }
    assert!(error(graph).contains("up.1"));
    // Multiply-accumulates, each layer of which fits.
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 1 }, &[]);
    let wide = graph.add("wide", Op::Conv(Conv { padding: [0; 2], ..Conv::same(1, 1, 1 << 17, 1) }), &[image]);
    graph.set_outputs(vec![wide]);
    let error = graph.costs([1 << 18; 2]).unwrap_err().to_string();
    assert!(error.contains("wide") && error.contains("64 bits"), "{error}");
    // No channels at all.
    let mut graph = Graph::new();
    graph.add("images", Op::Input { channels: 0 }, &[]);
    assert!(graph.validate().unwrap_err().to_string().contains("0 channels"));
}
