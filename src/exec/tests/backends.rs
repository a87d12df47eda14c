//! The two backends against each other over many small networks.

use super::*;
use crate::zoo;

/// Both backends give the same values, averages and gradients, with either statistics, whether steps run as one or not.
fn compare(what: &str, graph: Graph, images: [usize; 4], taps: &[&str]) {
    let model = model(graph, 7);
    let taps: Vec<NodeId> = taps.iter().map(|name| model.graph().find(name).unwrap()).collect();
    let everywhere: Vec<NodeId> = (0..model.graph().nodes().len()).collect();
    let images = random_tensor(&images, 3);
    let [reference, fast] = BACKENDS.map(|backend| Inference::with_backend(backend, &model, &taps).unwrap());
    same_values(&format!("{what} infer"), &fast.run(&images).unwrap(), &reference.run(&images).unwrap());
    for statistics in [NormStatistics::Batch, NormStatistics::Running] {
        for gradient_taps in [&[][..], &everywhere] {
            let what = format!("{what} {statistics:?} {}", gradient_taps.len());
            let options = TrainOptions { statistics, taps: &taps, gradient_taps };
            let [reference, fast] = BACKENDS.map(|backend| {
                let tape = train_with(backend, &model, &images, &options).unwrap();
                let (values, running) = (tape.values.clone(), tape.running.clone());
                let gradients = tape.backward(&random_gradients(&values)).unwrap();
                (values, running, gradients)
            });
            same_values(&what, &fast.0, &reference.0);
            assert_all_close(&format!("{what} running"), &fast.1, &reference.1);
            assert_all_close(&format!("{what} gradient"), &fast.2.tensors, &reference.2.tensors);
            assert_all_close(&format!("{what} gradient at"), &fast.2.taps, &reference.2.taps);
        }
    }
}

fn same_values(what: &str, found: &Values, expected: &Values) {
    assert_eq!(found.outputs.len(), expected.outputs.len(), "{what}");
    for (index, (a, b)) in found.outputs.iter().zip(&expected.outputs).enumerate() {
        assert_close(&format!("{what} output {index}"), a, b);
    }
    assert_all_close(&format!("{what} tap"), &found.taps, &expected.taps);
}

#[test]
fn the_backends_agree_on_every_operation() {
    let conv = |kernel, stride, padding, dilation, groups| {
        let sizes = Conv { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], ..Conv::same(6, 6, 1, 1) };
        Op::Conv(Conv { dilation: [dilation; 2], groups, bias: true, ..sizes })
    };
    for (kernel, stride, padding, dilation, groups) in [
        (3, 1, 1, 1, 1),
        (3, 2, 1, 1, 1),
        (6, 2, 2, 1, 1),
        (3, 1, 2, 2, 1),
        (3, 2, 1, 1, 6),
        (3, 1, 1, 1, 2),
        (5, 3, 0, 1, 3),
        (1, 1, 0, 1, 1),
        (3, 1, 3, 1, 1),
    ] {
        for [height, width] in [[9, 8], [7, 11], [12, 12]] {
            let what = format!("conv {kernel} {stride} {padding} {dilation} {groups} on {height}×{width}");
            compare(&what, single(conv(kernel, stride, padding, dilation, groups), 6), [2, 6, height, width], &[]);
        }
    }
    compare("one pixel", single(conv(3, 1, 1, 1, 1), 6), [1, 6, 1, 1], &[]);
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (5, 1, 2), (3, 1, 0)] {
        let pool = Op::MaxPool(MaxPool { kernel, stride, padding });
        compare(&format!("pool {kernel} {stride} {padding}"), single(pool, 3), [2, 3, 9, 10], &[]);
    }
    for activation in [Activation::Silu, Activation::Relu, Activation::LeakyRelu { slope: 0.1 }, Activation::Hardswish]
    {
        compare(&format!("{activation:?}"), branches(activation), [2, 3, 12, 16], &[]);
        compare(&format!("{activation:?} alone"), single(Op::Activation(activation), 3), [2, 3, 5, 4], &[]);
    }
    compare("taps", branches(Activation::Silu), [3, 3, 8, 20], &["right.bn", "cat", "right.conv"]);
    compare("batch of one", branches(Activation::Silu), [1, 3, 16, 8], &["stem.act"]);
}

#[test]
fn running_statistics_stay() {
    let model = model(branches(Activation::Silu), 1);
    let images = random_tensor(&[2, 3, 8, 8], 1);
    for backend in BACKENDS {
        let options = TrainOptions { statistics: NormStatistics::Running, ..TrainOptions::default() };
        let tape = train_with(backend, &model, &images, &options).unwrap();
        assert!(tape.running.is_empty());
        let inferred = Inference::with_backend(backend, &model, &[]).unwrap().run(&images).unwrap();
        same_values("as in inference", &tape.values, &inferred);
    }
}

#[test]
fn the_gradient_of_equal_maxima_goes_to_the_first() {
    let pooled = |pool, image: Tensor| {
        let mut graph = Graph::new();
        let input = graph.add("images", Op::Input { channels: image.dim(1).unwrap() }, &[]);
        let pool = graph.add("pool", Op::MaxPool(pool), &[input]);
        graph.set_outputs(vec![pool]);
        let model = model(graph, 1);
        BACKENDS.map(|backend| {
            let options = TrainOptions { gradient_taps: &[input], ..TrainOptions::default() };
            let tape = train_with(backend, &model, &image, &options).unwrap();
            let gradients = random_gradients(&tape.values);
            (
                numbers(gradients.outputs[0].as_ref().unwrap()),
                tape.backward(&gradients).unwrap().taps.remove(&input).unwrap(),
            )
        })
    };
    let even = Tensor::ones((1, 1, 2, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    for (given, found) in pooled(MaxPool { kernel: 2, stride: 2, padding: 0 }, even) {
        assert_eq!(numbers(&found), [given[0], 0.0, given[1], 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
    // Few different numbers, so that most windows have several maxima.
    let coarse = (random_tensor(&[2, 3, 9, 10], 4) * 2.0).unwrap().round().unwrap();
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (5, 1, 2), (3, 1, 0)] {
        let [reference, fast] = pooled(MaxPool { kernel, stride, padding }, coarse.clone());
        assert_close(&format!("pool {kernel} {stride} {padding}"), &fast.1, &reference.1);
    }
}

#[test]
fn convolutions_take_their_normalisation_along() {
    let model = model(branches(Activation::Silu), 1);
    let tapped = model.graph().find("stem.bn").unwrap();
    for backend in BACKENDS {
        let fused = |taps| Inference::with_backend(backend, &model, taps).unwrap().ways().fused;
        assert_eq!((fused(&[]), fused(&[tapped])), (2, 1), "{backend:?}");
    }
}

/// A slower way taken by mistake would cost no test anything but time.
#[test]
fn the_stock_models_run_the_fast_ways() {
    for (variant, fused, winograd) in [("yolov5n", 57, 11), ("yolov8n", 57, 32), ("yolov8s", 57, 32)] {
        let model = zoo::yolo(variant, &zoo::Fresh::numbered(80)).unwrap();
        let ways = Inference::new(&model, &[]).unwrap().ways();
        assert_eq!(ways, ConvolutionWays { fused, winograd }, "{variant}");
    }
}
