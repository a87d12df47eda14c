//! What is measured on images, held to what candle's own operations and finite differences give.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{criteria_tests::data, tests::loose, *};
use crate::exec;
use crate::{
    data::{Batch, Batches, Target},
    exec::{Backend, Inference, NormStatistics, TrainOptions, ValueGradients, image_gradients, train_with},
    graph::NodeId,
    io,
    model::Model,
    train::loss::{DetectionLoss, Gains},
};

/// Scores by group and channel.
fn scored(model: &Model, granularity: Granularity, importance: &str, data: PruneData) -> Vec<ScoreRow> {
    let options =
        PruneOptions { granularity, importance: Some(importance.into()), seed: 3, ..loose(Amount::Ratio(0.25)) };
    Pruner::new(model, options).unwrap().with_data(data).scores().unwrap()
}

fn batch(data: &PruneData) -> Batch {
    Batches::eval(data.dataset.split("train").unwrap(), 64, data.options.images).unwrap().next().unwrap().unwrap()
}

fn loss(model: &Model) -> DetectionLoss {
    DetectionLoss::new(model.detector(), &Gains::default().for_training(model.detector(), 64)).unwrap()
}

fn own(batch: &Batch, index: usize) -> Vec<Target> {
    let targets = batch.targets.iter().filter(|target| target.image == index);
    targets.map(|target| Target { image: 0, ..*target }).collect()
}

/// The numbers of each channel.
fn channels(tensor: &Tensor) -> Vec<Vec<f64>> {
    let by_channel = tensor.transpose(0, 1).unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    by_channel.into_iter().map(|channel| channel.into_iter().map(f64::from).collect()).collect()
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len() as f64;
    numbers.sum::<f64>() / count
}

/// Checks the scores of groups of one convolution by what its channels should score.
fn check(model: &Model, rows: &[ScoreRow], place: fn(&Model, NodeId) -> NodeId, expected: &BTreeMap<NodeId, Vec<f64>>) {
    let groups = Groups::of(model.graph()).unwrap();
    let mut checked = 0;
    for group in groups.all().iter().filter(|group| group.producers.len() == 1) {
        for row in rows.iter().filter(|row| row.group == group.name) {
            let expected = expected[&place(model, group.layer)][row.channel];
            let close = (row.score - expected).abs() <= 1e-3 * expected.abs() + 1e-9;
            assert!(close, "{} {}: {} for {expected}", row.layer, row.channel, row.score);
            checked += 1;
        }
    }
    assert!(checked > 20 && rows.iter().any(|row| row.score > 1e-6));
}

fn activation(model: &Model, layer: NodeId) -> NodeId {
    model.unit_output(layer)
}

fn response(model: &Model, layer: NodeId) -> NodeId {
    model.norm_after(layer).unwrap_or(layer)
}

#[test]
fn activations_and_responses_are_those_of_the_reference() {
    let model = io::teacher().unwrap();
    let images = batch(&data(4, 2)).images;
    let run = |place: fn(&Model, NodeId) -> NodeId, of: fn(Vec<f64>) -> f64| {
        let nodes: Vec<NodeId> = model.convolutions().map(|(id, _)| place(&model, id)).collect();
        let taps = Inference::with_backend(Backend::Reference, &model, &nodes).unwrap().run(&images).unwrap().taps;
        let of_node = |(node, value): (NodeId, Tensor)| (node, channels(&value).into_iter().map(of).collect());
        taps.into_iter().map(of_node).collect::<BTreeMap<_, Vec<f64>>>()
    };
    let expected = run(activation, |numbers| mean(numbers.iter().map(|a| a.abs())));
    check(&model, &scored(&model, Granularity::Channel, "activation", data(4, 2)), activation, &expected);
    let expected = run(response, |numbers| {
        let middle = mean(numbers.iter().copied());
        mean(numbers.iter().map(|a| (a - middle).powi(2))).sqrt()
    });
    check(&model, &scored(&model, Granularity::Filter, "response", data(4, 2)), response, &expected);
}

#[test]
fn noise_changes_what_flows_as_the_derivative_says() {
    // In a network without activation functions that bend, |a(x + d) − a(x)| is the response to the noise alone.
    let model = io::teacher().unwrap();
    for (granularity, place) in
        [(Granularity::Filter, response as fn(&Model, NodeId) -> NodeId), (Granularity::Channel, activation)]
    {
        let rows = scored(&model, granularity, "input_sensitivity", data(4, 2));
        // Batches do not matter, the seed does, but little.
        let again = scored(&model, granularity, "input_sensitivity", data(4, 3));
        for (row, other) in rows.iter().zip(&again) {
            assert!((row.score - other.score).abs() <= 1e-3 * row.score + 1e-6, "{row:?} {other:?}");
        }
        // The first convolution, exactly: its change is linear, of independent normal numbers with variance Σ w² σ², and the
        // mean magnitude of a normal number is σ·√(2/π). At the border there are fewer inputs.
        if granularity == Granularity::Filter {
            let (first, _) = model.convolutions().next().unwrap();
            let tensor = |name: String| model.tensors()[&name].clone();
            let weight = tensor(model.graph().node(first).tensor_name("weight"));
            let norm = model.graph().node(place(&model, first));
            let vector = |suffix: &str| tensor(norm.tensor_name(suffix)).to_vec1::<f32>().unwrap();
            let (scale, variance) = (vector("weight"), vector("running_var"));
            let squares = weight.sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
            let name = &model.graph().node(first).name;
            let of_first: Vec<_> = rows.iter().filter(|row| row.layer == *name).collect();
            assert!(!of_first.is_empty());
            for row in of_first {
                let deviation = f64::from(scale[row.channel].abs() * squares[row.channel].sqrt())
                    / (f64::from(variance[row.channel]) + 1e-3).sqrt();
                let expected = deviation * (2.0 / std::f64::consts::PI).sqrt();
                assert!((row.score / expected - 1.0).abs() < 0.08, "{}: {} for {expected}", row.channel, row.score);
            }
        }
    }
}

#[test]
fn pulls_and_filters_gradients_are_those_of_the_reference() {
    let model = io::teacher().unwrap();
    let batch = batch(&data(4, 4));
    let nodes: Vec<NodeId> = model.convolutions().map(|(id, _)| model.unit_output(id)).collect();
    let options =
        TrainOptions { statistics: NormStatistics::Running, gradient_taps: &nodes, ..TrainOptions::default() };
    let tape = train_with(Backend::Reference, &model, &batch.images, &options).unwrap();
    let outputs = loss(&model).compute(&tape.values.outputs, &batch.targets).unwrap().gradients;
    let outputs = outputs.into_iter().map(Some).collect();
    let found = tape.backward(&ValueGradients { outputs, ..ValueGradients::default() }).unwrap();
    let magnitude = |(node, value): (NodeId, Tensor)| {
        (node, channels(&value).into_iter().map(|numbers| mean(numbers.iter().map(|g| g.abs()))).collect())
    };
    let expected = found.taps.into_iter().map(magnitude).collect();
    check(&model, &scored(&model, Granularity::Channel, "gradient", data(4, 4)), activation, &expected);
    let filter = |(id, _): (NodeId, _)| {
        let name = model.graph().node(id).tensor_name("weight");
        let rows = found.tensors[&name].flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        let norm = |row: &Vec<f32>| row.iter().map(|&g| (f64::from(g) / 4.0).powi(2)).sum::<f64>().sqrt();
        (id, rows.iter().map(norm).collect())
    };
    let expected = model.convolutions().map(filter).collect::<BTreeMap<_, Vec<f64>>>();
    let layer = |_: &Model, layer| layer;
    check(&model, &scored(&model, Granularity::Filter, "gradient", data(4, 4)), layer, &expected);
}

#[test]
fn fisher_is_of_single_images() {
    let model = io::teacher().unwrap();
    let batch = batch(&data(3, 2));
    let mut squares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let loss = loss(&model);
    let of_image = |index: usize, values: &exec::Values| {
        let outputs = loss.compute(&values.outputs, &own(&batch, index)).unwrap().gradients;
        Ok(ValueGradients { outputs: outputs.into_iter().map(Some).collect(), ..ValueGradients::default() })
    };
    image_gradients::<exec::ExecError>(
        Backend::Reference,
        &model,
        &batch.images,
        &TrainOptions::default(),
        of_image,
        |_, found| {
            for (name, gradient) in found.tensors {
                let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let sums = squares.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
                sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(g).powi(2) / 3.0);
            }
            Ok(())
        },
    )
    .unwrap();
    // Whatever the batches.
    for size in [1, 2] {
        let options = PruneOptions {
            granularity: Granularity::Weight,
            importance: Some("fisher".into()),
            amount: Amount::Ratio(0.25),
            ..PruneOptions::default()
        };
        let scores = Pruner::new(&model, options).unwrap().with_data(data(3, size)).weight_scores().unwrap();
        assert_eq!(scores.len(), model.convolutions().count());
        for WeightScores { name, scores, .. } in scores {
            let weight = model.tensors()[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let most = scores.iter().copied().fold(0.0, f32::max);
            for ((score, w), square) in scores.iter().zip(weight).zip(&squares[&name]) {
                let expected = f64::from(w).powi(2) * square;
                let close = (f64::from(*score) - expected).abs() <= 5e-3 * expected + 1e-4 * f64::from(most);
                assert!(close, "{name}: {score} for {expected}");
            }
        }
    }
}

#[test]
fn fisher_of_a_channel_is_the_squared_derivative_of_its_gate() {
    let model = io::teacher().unwrap();
    let batch = batch(&data(1, 1));
    let rows = scored(&model, Granularity::Channel, "fisher", data(1, 1));
    let groups = Groups::of(model.graph()).unwrap();
    let running = TrainOptions { statistics: NormStatistics::Running, ..TrainOptions::default() };
    let tape = train_with(Backend::Reference, &model, &batch.images, &running).unwrap();
    let outputs = loss(&model).compute(&tape.values.outputs, &batch.targets).unwrap().gradients;
    let outputs = outputs.into_iter().map(Some).collect();
    let gradients = tape.backward(&ValueGradients { outputs, ..ValueGradients::default() }).unwrap().tensors;
    // A gate on a coupled channel is one on all columns that read it: sums, pools and concatenations pass it on. Its derivative
    // is Σ w·g over those columns.
    let mut gates = vec![0.0; groups.count()];
    for reader in model.graph().readers() {
        let product = (&model.tensors()[&reader.name] * &gradients[&reader.name]).unwrap();
        for (column, numbers) in channels(&product).into_iter().enumerate() {
            gates[groups.coupled(reader.input, column).unwrap()] += numbers.iter().sum::<f64>();
        }
    }
    let (mut checked, mut coupled) = (0, 0);
    for group in groups.all() {
        let largest = group.coupled.iter().map(|&channel| gates[channel].powi(2)).fold(0.0, f64::max);
        for (row, &channel) in rows.iter().filter(|row| row.group == group.name).zip(&group.coupled) {
            let expected = gates[channel].powi(2);
            let close = (row.score - expected).abs() <= 1e-2 * expected + 1e-3 * largest + 1e-12;
            assert!(close, "{} {}: {} for {expected}", row.layer, row.channel, row.score);
            checked += 1;
            coupled += usize::from(group.producers.len() > 1);
        }
    }
    assert!(checked > 100 && coupled > 4, "{checked} {coupled}");
    assert!(rows.iter().any(|row| row.score > 1e-5));
}

#[test]
fn masks_are_scored_by_their_formulas() {
    let model = io::teacher().unwrap();
    let pruner = |importance: &str, granularity, data: PruneData| {
        let options = PruneOptions {
            granularity,
            importance: Some(importance.into()),
            threshold: Some(0.05),
            seed: 1,
            amount: if granularity == Granularity::NM { PruneOptions::default().amount } else { Amount::Ratio(0.25) },
            ..PruneOptions::default()
        };
        Pruner::new(&model, options).unwrap().with_data(data)
    };
    let scores = |importance: &str, granularity| pruner(importance, granularity, data(4, 4)).weight_scores().unwrap();
    let batch = batch(&data(4, 4));
    let running = TrainOptions { statistics: NormStatistics::Running, ..TrainOptions::default() };
    let tape = train_with(Backend::Reference, &model, &batch.images, &running).unwrap();
    let outputs = loss(&model).compute(&tape.values.outputs, &batch.targets).unwrap().gradients;
    let outputs = outputs.into_iter().map(Some).collect();
    let gradients = tape.backward(&ValueGradients { outputs, ..ValueGradients::default() }).unwrap().tensors;
    let nodes: Vec<NodeId> = model.convolutions().map(|(id, _)| model.graph().node(id).inputs[0]).collect();
    let inputs = Inference::with_backend(Backend::Reference, &model, &nodes).unwrap().run(&batch.images).unwrap().taps;

    let all = ["magnitude", "wanda", "gradient", "taylor", "movement", "zero_rate"]
        .map(|name| (name, scores(name, Granularity::Weight)));
    let blocks = scores("zero_rate", Granularity::Block);
    for (place, (id, conv)) in model.convolutions().enumerate() {
        let node = model.graph().node(id);
        let name = node.tensor_name("weight");
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (weights, gradient) = (numbers(&model.tensors()[&name]), numbers(&gradients[&name]));
        let norms: Vec<f64> = channels(&inputs[&node.inputs[0]])
            .into_iter()
            .map(|channel| channel.iter().map(|x| x * x).sum::<f64>().sqrt())
            .collect();
        let [_, columns, height, width] = conv.weight_shape();
        let filter = columns * height * width;
        let largest = weights.iter().fold(0f32, |largest, w| largest.max(w.abs()));
        for (own, found) in &all {
            let found = &found[place];
            assert_eq!((&found.name, found.node, found.shape), (&name, id, conv.weight_shape()));
            let most = found.scores.iter().fold(0f32, |most, score| most.max(score.abs()));
            for (index, &score) in found.scores.iter().enumerate() {
                let (w, g) = (f64::from(weights[index]), f64::from(gradient[index]) / 4.0);
                let row = &weights[index / filter * filter..][..filter];
                let kept = row.iter().filter(|w| w.abs() >= 0.05).count() as f64;
                let expected = match *own {
                    "magnitude" => w.abs(),
                    // None of its convolutions is grouped.
                    "wanda" => w.abs() * norms[index % filter / (height * width)],
                    "gradient" => g.abs(),
                    "taylor" => (w * g).powi(2),
                    "movement" => -w * g,
                    _ => (kept + w.abs() / f64::from(largest) / 2.0) / filter as f64,
                };
                let close = (f64::from(score) - expected).abs() <= 5e-3 * expected.abs() + 2e-4 * f64::from(most);
                assert!(close, "{own} {name} {index}: {score} for {expected}");
            }
        }
        for (score, w) in blocks[place].scores.iter().zip(&weights) {
            let expected = f32::from(u8::from(w.abs() >= 0.05)) + w.abs() / largest / 128.0;
            assert!((score - expected).abs() < 1e-5);
        }
    }
    assert_eq!(scores("random", Granularity::NM), scores("random", Granularity::Block));
}

#[test]
fn movement_tells_which_weights_training_would_shrink() {
    let model = io::teacher().unwrap();
    let data = data(4, 4);
    let batch = batch(&data);
    let options = PruneOptions {
        granularity: Granularity::Weight,
        importance: Some("movement".into()),
        amount: Amount::Ratio(0.25),
        ..PruneOptions::default()
    };
    let scores = Pruner::new(&model, options).unwrap().with_data(data).weight_scores().unwrap();
    // A weight that grows by the share ε changes the loss by ε·w·g, so that the score is −dL/dε.
    for WeightScores { name, scores, shape, .. } in scores.iter().step_by(5) {
        let place = (0..scores.len()).max_by(|&a, &b| scores[a].abs().total_cmp(&scores[b].abs())).unwrap();
        let with = |share: f64| {
            let mut numbers = model.tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            numbers[place] *= 1.0 + share as f32;
            let mut tensors = model.tensors().clone();
            tensors.insert(name.clone(), Tensor::from_vec(numbers, &shape[..], &Device::Cpu).unwrap());
            let changed = model.with_tensors(tensors).unwrap();
            let outputs = Inference::with_backend(Backend::Reference, &changed, &[]).unwrap().run(&batch.images);
            let found = loss(&model).compute(&outputs.unwrap().outputs, &batch.targets).unwrap();
            found.parts.iter().map(|&(_, part)| f64::from(part)).sum::<f64>()
        };
        let step = 2e-2;
        let expected = -(with(step) - with(-step)) / (2.0 * step);
        let found = f64::from(scores[place]);
        assert!((found - expected).abs() <= 0.1 * expected.abs() + 1e-4, "{name}: {found} for {expected}");
    }
}
