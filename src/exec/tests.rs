use super::*;
use crate::graph::{BatchNorm, Conv, MaxPool, Op};

#[test]
fn reference_runs_a_block_and_its_gradients_match_finite_differences() {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 2 }, &[]);
    let conv = Conv { bias: true, ..Conv::same(2, 3, 3, 2) };
    let first = graph.add("a", Op::Conv(conv), &[image]);
    let norm = graph.add("b", Op::BatchNorm(BatchNorm { channels: 3, eps: 1e-3, momentum: 0.03 }), &[first]);
    let act = graph.add("c", Op::Activation(crate::graph::Activation::Silu), &[norm]);
    let pool = graph.add("d", Op::MaxPool(MaxPool { kernel: 5, stride: 1, padding: 2 }), &[act]);
    let up = graph.add("e", Op::Upsample { scale: 2 }, &[pool]);
    let wide = graph.add("f", Op::Upsample { scale: 2 }, &[act]);
    let sum = graph.add("g", Op::Add, &[up, wide]);
    let cat = graph.add("h", Op::Concat, &[sum, wide]);
    let slice = graph.add("i", Op::Slice { start: 2, len: 3 }, &[cat]);
    graph.set_outputs(vec![slice]);
    graph.validate().unwrap();
    let device = Device::Cpu;
    let mut tensors = Tensors::new();
    for (index, (_, name, parameter)) in graph.parameters().enumerate() {
        let count: usize = parameter.shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| 0.3 + ((i * 7 + index * 3) % 11) as f32 * 0.07).collect();
        let values: Vec<f32> = values.iter().enumerate().map(|(i, v)| if i % 3 == 0 { -v } else { *v }).collect();
        let values = if name.ends_with("running_var") { vec![1.0; count] } else { values };
        tensors.insert(name, Tensor::from_vec(values, parameter.shape, &device).unwrap());
    }
    let pixels: Vec<f32> = (0..2 * 2 * 7 * 6).map(|i| ((i * 37 % 101) as f32) / 101.0).collect();
    let images = Tensor::from_vec(pixels, (2, 2, 7, 6), &device).unwrap();
    let tape = reference::train(&graph, &tensors, &images, &[]).unwrap();
    let shape = tape.values.outputs[0].dims().to_vec();
    let count: usize = shape.iter().product();
    let weights: Vec<f32> = (0..count).map(|i| ((i % 5) as f32 - 1.7) * 0.3).collect();
    let gradient = Tensor::from_vec(weights, shape, &device).unwrap();
    let loss = |tensors: &Tensors| -> f64 {
        let tape = reference::train(&graph, tensors, &images, &[]).unwrap();
        let product = tape.values.outputs[0].to_dtype(candle_core::DType::F64).unwrap();
        (product * gradient.to_dtype(candle_core::DType::F64).unwrap()).unwrap().sum_all().unwrap().to_scalar().unwrap()
    };
    let gradients =
        tape.backward(&ValueGradients { outputs: vec![Some(gradient.clone())], ..Default::default() }).unwrap();
    for (name, tensor) in &tensors {
        let Some(gradient) = gradients.get(name) else { continue };
        let analytic = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let base = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for index in [0, base.len() / 2, base.len() - 1] {
            let shifted = |delta: f32| {
                let mut values = base.clone();
                values[index] += delta;
                let mut changed = tensors.clone();
                changed.insert(name.clone(), Tensor::from_vec(values, tensor.dims(), &device).unwrap());
                loss(&changed)
            };
            let numeric = (shifted(2e-3) - shifted(-2e-3)) / 4e-3;
            let difference = (numeric - f64::from(analytic[index])).abs();
            assert!(
                difference < 2e-2 * numeric.abs().max(0.5),
                "{name}[{index}]: {numeric} against {}",
                analytic[index]
            );
        }
    }
    assert_eq!(gradients.len(), 4);
}
