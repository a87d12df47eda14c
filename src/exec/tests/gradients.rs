//! Gradients against finite differences, and of single images.

use super::*;

/// A number of a tensor moved by `delta`.
fn moved(tensor: &Tensor, index: usize, delta: f32) -> Tensor {
    let mut numbers = numbers(tensor);
    numbers[index] += delta;
    Tensor::from_vec(numbers, tensor.dims(), &Device::Cpu).unwrap()
}

/// Some numbers of a gradient against the change of a loss.
fn check(what: &str, gradient: &Tensor, loss: impl Fn(usize, f32) -> f64) {
    let analytic = numbers(gradient);
    for index in [0, analytic.len() / 2, analytic.len() - 1] {
        let numeric = (loss(index, 1e-3) - loss(index, -1e-3)) / 2e-3;
        let (difference, scale) = ((numeric - f64::from(analytic[index])).abs(), numeric.abs().max(0.5));
        assert!(difference < 3e-2 * scale, "{what}[{index}]: {numeric} against {}", analytic[index]);
    }
}

#[test]
fn gradients_of_tensors_match_finite_differences() {
    let model = model(branches(Activation::Silu), 5);
    let images = random_tensor(&[2, 3, 8, 12], 2);
    for statistics in [NormStatistics::Batch, NormStatistics::Running] {
        let options = TrainOptions { statistics, gradient_taps: &[0], ..TrainOptions::default() };
        let forward = |model: &Model, images: &Tensor| train_with(Backend::Reference, model, images, &options).unwrap();
        let tape = forward(&model, &images);
        let weights = random_gradients(&tape.values);
        let gradients = tape.backward(&weights).unwrap();
        let trained = model.graph().parameters().filter(|(_, _, parameter)| parameter.role.is_trainable());
        assert_eq!(gradients.tensors.len(), trained.count());
        for (name, gradient) in &gradients.tensors {
            check(&format!("{statistics:?} {name}"), gradient, |index, delta| {
                let mut tensors = model.tensors().clone();
                tensors.insert(name.clone(), moved(&model.tensors()[name], index, delta));
                weighted_sum(&forward(&model.with_tensors(tensors).unwrap(), &images).values, &weights)
            });
        }
        check(&format!("{statistics:?} images"), &gradients.taps[&0], |index, delta| {
            weighted_sum(&forward(&model, &moved(&images, index, delta)).values, &weights)
        });
    }
}

#[test]
fn gradients_at_taps_match_finite_differences() {
    let model = model(branches(Activation::Silu), 5);
    let graph = model.graph();
    let images = random_tensor(&[2, 3, 8, 12], 2);
    let everywhere: Vec<NodeId> = (1..graph.nodes().len()).collect();
    let values = Inference::new(&model, &everywhere).unwrap().run(&images).unwrap();
    for backend in BACKENDS {
        let statistics = NormStatistics::Running;
        let options = TrainOptions { statistics, gradient_taps: &everywhere, ..TrainOptions::default() };
        let tape = train_with(backend, &model, &images, &options).unwrap();
        let weights = random_gradients(&tape.values);
        let gradients = tape.backward(&weights).unwrap().taps;
        assert_eq!(gradients.keys().copied().collect::<Vec<_>>(), everywhere);
        // Where a pool of a pool reads, most maxima are equal, and there is no derivative.
        let tied = graph.find("pool").unwrap();
        for (&id, gradient) in gradients.iter().filter(|&(&id, _)| id != tied) {
            let mut starts = frontier(graph, &[id]);
            starts.push(id);
            let options = InferenceOptions { starts: starts.clone(), ..InferenceOptions::default() };
            let rest = Inference::with_options(Backend::Reference, &model, options).unwrap();
            check(&graph.node(id).name, gradient, |index, delta| {
                let mut given = values.taps.clone();
                given.insert(0, images.clone());
                given.insert(id, moved(&values.taps[&id], index, delta));
                weighted_sum(&rest.run_from(&images, &given).unwrap(), &weights)
            });
        }
    }
}

#[test]
fn gradients_of_single_images_sum_to_those_of_the_batch() {
    let model = model(branches(Activation::Silu), 5);
    let images = random_tensor(&[3, 3, 8, 12], 2);
    let sum_node = model.graph().find("add").unwrap();
    for backend in BACKENDS {
        let options = TrainOptions { gradient_taps: &[sum_node], ..TrainOptions::default() };
        let whole = TrainOptions { statistics: NormStatistics::Running, ..options };
        let tape = train_with(backend, &model, &images, &whole).unwrap();
        let weights = random_gradients(&tape.values);
        let batch = tape.backward(&weights).unwrap();
        let of_image = |index: usize, gradient: &Option<Tensor>| {
            Some(gradient.as_ref().unwrap().narrow(0, index, 1).unwrap().contiguous().unwrap())
        };
        let (mut sum, mut at_node, mut seen) = (Tensors::new(), Vec::new(), Vec::new());
        image_gradients(
            backend,
            &model,
            &images,
            &options,
            |index, values| {
                assert!(values.outputs.iter().all(|value| value.dim(0).unwrap() == 1));
                let outputs = weights.outputs.iter().map(|gradient| of_image(index, gradient)).collect();
                Ok::<_, ExecError>(ValueGradients { outputs, ..ValueGradients::default() })
            },
            |index, gradients| {
                seen.push(index);
                at_node.push(gradients.taps[&sum_node].clone());
                for (name, gradient) in gradients.tensors {
                    let total = sum.remove(&name).map_or(Ok(gradient.clone()), |total: Tensor| total + &gradient)?;
                    sum.insert(name, total);
                }
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(seen, [0, 1, 2]);
        assert_all_close("sum over images", &sum, &batch.tensors);
        assert_close("at the node", &Tensor::cat(&at_node, 0).unwrap(), &batch.taps[&sum_node]);
    }
}
