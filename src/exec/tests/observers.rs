//! What observers see.

use super::*;

/// Keeps what it sees of some nodes, and fails at one.
#[derive(Default)]
struct Recorder {
    nodes: Vec<NodeId>,
    values: BTreeMap<NodeId, Tensor>,
    gradients: BTreeMap<NodeId, Tensor>,
    fails_at: Option<NodeId>,
}

impl Recorder {
    fn of(nodes: &[NodeId]) -> Self {
        Self { nodes: nodes.to_vec(), ..Self::default() }
    }
}

impl Observer for Recorder {
    fn wants(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    fn value(&mut self, node: NodeId, value: &Tensor) -> Result<(), ObserverError> {
        if self.fails_at == Some(node) {
            return Err("it has seen enough".into());
        }
        assert!(self.values.insert(node, value.clone()).is_none(), "seen twice");
        Ok(())
    }

    fn gradient(&mut self, node: NodeId, gradient: &Tensor) -> Result<(), ObserverError> {
        assert!(self.gradients.insert(node, gradient.clone()).is_none(), "seen twice");
        Ok(())
    }
}

fn assert_equal(what: &str, found: &BTreeMap<NodeId, Tensor>, expected: &BTreeMap<NodeId, Tensor>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (id, value) in expected {
        assert_eq!(numbers(&found[id]), numbers(value), "{what} {id}");
    }
}

#[test]
fn an_observer_sees_what_taps_keep() {
    let model = model(branches(Activation::Silu), 3);
    let images = random_tensor(&[2, 3, 8, 12], 2);
    let all: Vec<NodeId> = (0..model.graph().nodes().len()).collect();
    for backend in BACKENDS {
        let tapped = Inference::with_backend(backend, &model, &all).unwrap().run(&images).unwrap();
        let options = InferenceOptions { observed: all.clone(), ..InferenceOptions::default() };
        let mut observer = Recorder::of(&all);
        let values = Inference::with_options(backend, &model, options).unwrap().run_observed(&images, &mut observer);
        assert!(values.unwrap().taps.is_empty());
        assert_equal("inference", &observer.values, &tapped.taps);

        let options = TrainOptions { taps: &all, gradient_taps: &all, ..TrainOptions::default() };
        let tape = train_with(backend, &model, &images, &options).unwrap();
        let given = ValueGradients { taps: BTreeMap::new(), ..random_gradients(&tape.values) };
        let (tapped, gradients) = (tape.values.taps.clone(), tape.backward(&given).unwrap());
        let mut observer = Recorder::of(&all);
        let tape = train_observed(backend, &model, &images, &TrainOptions::default(), &mut observer).unwrap();
        let observed = tape.backward_observed(&given, &mut observer).unwrap();
        assert!(observed.taps.is_empty());
        assert_equal("training", &observer.values, &tapped);
        assert_equal("backward", &observer.gradients, &gradients.taps);
        assert_all_close("gradients", &observed.tensors, &gradients.tensors);
    }
}

/// The last nodes of what runs as one need no declaration, and don't change how things run.
#[test]
fn outputs_of_units_are_seen_as_they_are() {
    let model = model(branches(Activation::Silu), 3);
    let images = random_tensor(&[2, 3, 8, 12], 2);
    let units: Vec<NodeId> = model.convolutions().map(|(id, _)| model.unit_output(id)).collect();
    let network = Inference::new(&model, &[]).unwrap();
    let mut observer = Recorder::of(&units);
    network.run_observed(&images, &mut observer).unwrap();
    assert_equal("units", &observer.values, &infer(&model, &images, &units).unwrap().taps);
    let inner = model.graph().find("stem.conv").unwrap();
    let error = network.run_observed(&images, &mut Recorder::of(&[inner])).unwrap_err().to_string();
    assert!(error.contains("stem.conv") && error.contains("observed"), "{error}");
}

#[test]
fn an_observer_may_fail() {
    let model = model(branches(Activation::Silu), 3);
    let images = random_tensor(&[1, 3, 8, 8], 2);
    let node = model.graph().find("cat").unwrap();
    for backend in BACKENDS {
        let mut observer = Recorder { fails_at: Some(node), ..Recorder::of(&[node]) };
        let network = Inference::with_backend(backend, &model, &[]).unwrap();
        let error = network.run_observed(&images, &mut observer).unwrap_err().to_string();
        assert_eq!(error, "observing layer `cat`: it has seen enough");
        let tape = train_observed(backend, &model, &images, &TrainOptions::default(), &mut observer);
        assert_eq!(tape.err().unwrap().to_string(), error);
        // One who did not see the run may not see what it did not keep apart.
        let tape = train_with(backend, &model, &images, &TrainOptions::default()).unwrap();
        let inner = model.graph().find("stem.bn").unwrap();
        let given = random_gradients(&tape.values);
        let error = tape.backward_observed(&given, &mut Recorder::of(&[inner])).unwrap_err().to_string();
        assert!(error.contains("stem.bn"), "{error}");
    }
}
