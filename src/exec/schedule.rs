//! What inference computes: its steps in order, how often each value is read, and a run through them.

use std::{collections::BTreeMap, iter, time::Instant};

use candle_core::{Result, Tensor};

use super::{
    error::ExecError,
    fuse::{self, Step},
    observer::{self, Observer},
    options::InferenceOptions,
    reach,
    shapes::Shapes,
    times::StepTimes,
    values::{self, RunValue, Values},
};
use crate::graph::{Graph, NodeId, Op};

/// The steps that the outputs and taps need, the same on every backend.
pub(super) struct Schedule<W> {
    pub(super) steps: Vec<(Step, Source<W>)>,
    outputs: Vec<NodeId>,
    taps: Vec<NodeId>,
    /// For each node, how many steps read its value (outputs and taps count as a reader that never comes).
    readers: Vec<usize>,
}

/// Where a step's value comes from.
pub(super) enum Source<W> {
    /// The images themselves.
    Images,
    /// A value that the run is given.
    Given,
    /// Computed by what a backend has made ready for it.
    Computed(W),
}

impl<W> Schedule<W> {
    /// The steps of a graph; `prepare` makes ready those that are computed.
    ///
    /// # Errors
    /// Those of `prepare`.
    pub(super) fn new(graph: &Graph, options: &InferenceOptions, prepare: impl Fn(Step) -> Result<W>) -> Result<Self> {
        let InferenceOptions { taps, observed, starts, taps_alone } = options;
        let outputs = if *taps_alone { Vec::new() } else { graph.outputs().to_vec() };
        let wanted = [outputs.as_slice(), taps].concat();
        let needed = reach::needed(graph, starts, &wanted);
        let mut readers = vec![0; graph.nodes().len()];
        wanted.iter().for_each(|&id| readers[id] += 1);
        let mut steps = Vec::new();
        for step in fuse::for_inference(graph, &needed, starts, taps.iter().chain(observed).copied()) {
            let source = if starts.contains(&step.first()) {
                Source::Given
            } else if matches!(graph.node(step.first()).op, Op::Input { .. }) {
                Source::Images
            } else {
                Source::Computed(prepare(step)?)
            };
            source.reads(graph, step).iter().for_each(|&input| readers[input] += 1);
            steps.push((step, source));
        }
        Ok(Self { steps, outputs, taps: taps.clone(), readers })
    }

    /// Goes through the steps on images (n, channels, h, w), from the values given; `compute` makes the value of a step
    /// from those kept so far, in a tensor where the flag says that others are to see it. Values are freed after their last
    /// reader. Says how long each step took.
    pub(super) fn run<V: RunValue>(
        &self,
        (graph, shapes): (&Graph, &Shapes),
        images: &Tensor,
        starts: &BTreeMap<NodeId, Tensor>,
        observer: &mut dyn Observer,
        mut compute: impl FnMut(Step, &W, &[Option<V>], bool) -> Result<V>,
    ) -> std::result::Result<(Values, StepTimes), ExecError> {
        fuse::check_observed(graph, self.steps.iter().map(|(step, _)| *step), observer)?;
        let mut values: Vec<Option<V>> = iter::repeat_with(|| None).take(graph.nodes().len()).collect();
        let mut readers = self.readers.clone();
        let mut times = StepTimes::default();
        for (step, source) in &self.steps {
            let (first, id) = (step.first(), step.output());
            let shared = self.outputs.contains(&id) || self.taps.contains(&id) || observer.wants(id);
            let start = Instant::now();
            let result = match source {
                Source::Images => V::of(shapes.of[id], images),
                Source::Given => V::of(shapes.of[id], &starts[&id]),
                Source::Computed(work) => compute(*step, work, &values, shared),
            };
            times.forward.push((first, start.elapsed().as_secs_f64()));
            let value = shapes.in_layer(graph, first, result)?;
            if let Some(tensor) = value.tensor() {
                observer::show_value(graph, observer, id, tensor)?;
            }
            if readers[id] > 0 {
                values[id] = Some(value);
            }
            for &input in source.reads(graph, *step) {
                readers[input] -= 1;
                if readers[input] == 0 {
                    values[input] = None;
                }
            }
        }
        let tensor = |id: NodeId| Ok(values::kept(graph, &values, id)?.shared()?.clone());
        let values = Values {
            outputs: self.outputs.iter().map(|&id| tensor(id)).collect::<Result<_>>()?,
            taps: self.taps.iter().map(|&id| Ok((id, tensor(id)?))).collect::<Result<_>>()?,
        };
        Ok((values, times))
    }

    /// How many convolutions run as one with what follows them.
    pub(super) fn fused(&self) -> usize {
        self.steps.iter().filter(|(step, _)| step.is_fused()).count()
    }
}

impl<W> Source<W> {
    /// The nodes that a step reads.
    fn reads<'g>(&self, graph: &'g Graph, step: Step) -> &'g [NodeId] {
        match self {
            Source::Images | Source::Given => &[],
            Source::Computed(_) => &graph.node(step.first()).inputs,
        }
    }
}
