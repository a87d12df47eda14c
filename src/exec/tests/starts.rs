//! Runs that begin at the values of given nodes.

use super::*;

fn from(backend: Backend, model: &Model, starts: &[NodeId]) -> Inference {
    let options = InferenceOptions { starts: starts.to_vec(), ..InferenceOptions::default() };
    Inference::with_options(backend, model, options).unwrap()
}

fn assert_equal(what: &str, found: &Values, expected: &Values) {
    assert_eq!(found.outputs.len(), expected.outputs.len());
    for (found, expected) in found.outputs.iter().zip(&expected.outputs) {
        assert_eq!(numbers(found), numbers(expected), "{what}");
    }
}

#[test]
fn a_run_from_values_equals_the_whole() {
    let model = model(branches(Activation::Silu), 3);
    let graph = model.graph();
    let images = random_tensor(&[2, 3, 8, 12], 2);
    let none = images.zeros_like().unwrap();
    for backend in BACKENDS {
        for name in ["stem.conv", "right.conv", "add", "cat", "down", "head"] {
            let changed = graph.find(name).unwrap();
            let starts = frontier(graph, &[changed]);
            let before = Inference::with_backend(backend, &model, &starts).unwrap().run(&images).unwrap();
            // What comes first is not computed: the images make no difference.
            let rest = from(backend, &model, &starts);
            let given = if name == "stem.conv" { &images } else { &none };
            let whole = Inference::with_backend(backend, &model, &[]).unwrap().run(&images).unwrap();
            assert_equal(name, &rest.run_from(given, &before.taps).unwrap(), &whole);
            let mut tensors = model.tensors().clone();
            if let Some(weight) = tensors.get_mut(&graph.node(changed).tensor_name("weight")) {
                *weight = (&*weight * 0.5).unwrap();
            }
            let other = model.with_tensors(tensors).unwrap();
            let whole = Inference::with_backend(backend, &other, &[]).unwrap().run(&images).unwrap();
            assert_equal(name, &from(backend, &other, &starts).run_from(given, &before.taps).unwrap(), &whole);
        }
        // What lies beside the values given is computed from the images.
        let left = graph.find("left").unwrap();
        let value = infer(&model, &images, &[left]).unwrap();
        let whole = Inference::with_backend(backend, &model, &[]).unwrap().run(&images).unwrap();
        for (a, b) in
            from(backend, &model, &[left]).run_from(&images, &value.taps).unwrap().outputs.iter().zip(&whole.outputs)
        {
            assert_close("beside", a, b);
        }
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let model = model(branches(Activation::Silu), 3);
    let cat = model.graph().find("cat").unwrap();
    let images = random_tensor(&[2, 3, 8, 8], 2);
    for backend in BACKENDS {
        let network = from(backend, &model, &[cat]);
        let error = network.run(&images).unwrap_err().to_string();
        assert!(error.contains("`cat`") && error.contains("not given"), "{error}");
        let wrong = BTreeMap::from([(cat, random_tensor(&[2, 18, 4, 5], 1))]);
        let error = network.run_from(&images, &wrong).unwrap_err().to_string();
        assert!(
            error.contains("`cat`") && error.contains("[2, 18, 4, 5]") && error.contains("[2, 18, 4, 4]"),
            "{error}"
        );
    }
}

#[test]
fn taps_alone_are_what_they_are_beside_outputs() {
    let model = model(branches(Activation::Silu), 5);
    let images = random_tensor(&[2, 3, 8, 12], 3);
    let taps = ["left", "add"].map(|name| model.graph().find(name).unwrap()).to_vec();
    for backend in BACKENDS {
        let run = |taps_alone| {
            let options = InferenceOptions { taps: taps.clone(), taps_alone, ..InferenceOptions::default() };
            Inference::with_options(backend, &model, options).unwrap().run(&images).unwrap()
        };
        let (alone, beside) = (run(true), run(false));
        assert!(alone.outputs.is_empty() && !beside.outputs.is_empty());
        for id in &taps {
            assert_eq!(numbers(&alone.taps[id]), numbers(&beside.taps[id]), "{id}");
        }
    }
}
