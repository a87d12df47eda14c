//! What does not fit is named.

use candle_core::DType;

use super::*;

#[test]
fn images_that_do_not_fit() {
    let model = model(branches(Activation::Silu), 1);
    let error = infer(&model, &random_tensor(&[1, 4, 8, 8], 1), &[]).unwrap_err().to_string();
    assert!(error.contains("[1, 4, 8, 8]") && error.contains("3 channels"), "{error}");
    let error = infer(&model, &random_tensor(&[3, 10, 10], 1), &[]).unwrap_err().to_string();
    assert!(error.contains("[3, 10, 10]") && error.contains("batch, channels"), "{error}");
    let error = infer(&model, &random_tensor(&[1, 3, 8, 8], 1), &[99]).unwrap_err().to_string();
    assert!(error.contains("99") && error.contains("17 nodes"), "{error}");
}

#[test]
fn gradients_that_do_not_fit() {
    let model = model(branches(Activation::Silu), 1);
    for backend in BACKENDS {
        let error = |outputs: Vec<Option<Tensor>>, taps: BTreeMap<NodeId, Tensor>| {
            let tape = train_with(backend, &model, &random_tensor(&[1, 3, 8, 8], 1), &TrainOptions::default()).unwrap();
            tape.backward(&ValueGradients { outputs, taps }).unwrap_err().to_string()
        };
        let wrong = || random_tensor(&[1, 1], 1);
        let found = error(vec![Some(wrong()), None, None], BTreeMap::new());
        assert!(found.contains("head") && found.contains("[1, 1]") && found.contains("[1, 5, 4, 4]"), "{found}");
        let found = error(vec![None, None], BTreeMap::new());
        assert!(found.contains("2 gradients") && found.contains("3 outputs"), "{found}");
        let untapped = model.graph().find("cat").unwrap();
        let found = error(vec![None; 3], BTreeMap::from([(untapped, wrong())]));
        assert!(found.contains("cat") && found.contains("tap it"), "{found}");
    }
}

/// The same words in training and inference.
#[test]
fn a_layer_names_all_its_inputs() {
    let mut graph = Graph::new();
    let image = graph.add("images", Op::Input { channels: 3 }, &[]);
    let uneven = Conv { stride: [1, 2], ..Conv::same(3, 4, 1, 1) };
    let conv = graph.add("uneven", Op::Conv(uneven), &[image]);
    graph.set_outputs(vec![conv]);
    let uneven = model(graph, 1);
    let plain = model(branches(Activation::Silu), 1);
    let wide = random_tensor(&[2, 3, 8, 8], 1).to_dtype(DType::F64).unwrap();
    let messages = |backend, model: &Model, images: &Tensor| {
        let inferred = Inference::with_backend(backend, model, &[]).unwrap().run(images).unwrap_err();
        let trained = train_with(backend, model, images, &TrainOptions::default()).err().unwrap();
        // Without the backtrace that candle puts there where it is asked for.
        [inferred.to_string(), trained.to_string()].map(|error| error.lines().next().unwrap().to_owned())
    };
    // The reference cannot run such strides, the fast path no double precision.
    let reference = messages(Backend::Reference, &uneven, &random_tensor(&[2, 3, 8, 8], 1));
    for error in &reference {
        assert!(error.starts_with("layer `uneven` (Conv) with input (2, 3, 8, 8): stride [1, 2]"), "{error}");
    }
    let fast = messages(Backend::Fast(ComputeDtype::Fp32), &plain, &wide);
    for error in &fast {
        assert!(error.starts_with("layer `images` (Input) with input (2, 3, 8, 8): "), "{error}");
    }
    assert!(reference[0] == reference[1] && fast[0] == fast[1], "{reference:?} {fast:?}");
    let several = shapes::Shapes::new(plain.graph(), &random_tensor(&[2, 3, 8, 8], 1)).unwrap();
    let failed: candle_core::Result<()> = Err(candle_core::Error::Msg("it fails".into()));
    let error = several.in_layer(plain.graph(), plain.graph().find("add").unwrap(), failed).unwrap_err().to_string();
    assert_eq!(error, "layer `add` (Add) with input (2, 4, 4, 4) and (2, 4, 4, 4): it fails");
}

#[test]
fn bf16_is_refused_in_the_words_of_the_library() {
    let error = ExecError::Dtype { lacking: "this processor has none" }.to_string();
    assert!(error.contains("AVX-512 BF16") && error.contains("fp32") && !error.contains("precision"), "{error}");
}
