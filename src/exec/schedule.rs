//! What inference computes: its steps in order, and how often each value is read.

use candle_core::Result;

use super::{
    fuse::{self, Step},
    options::InferenceOptions,
    reach,
};
use crate::graph::{Graph, NodeId, Op};

/// The steps that the outputs and taps need, the same on every backend.
pub(super) struct Schedule<W> {
    pub(super) steps: Vec<(Step, Source<W>)>,
    pub(super) taps: Vec<NodeId>,
    /// For each node, how many steps read its value (outputs and taps count as a reader that never comes).
    pub(super) readers: Vec<usize>,
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
        let InferenceOptions { taps, observed, starts } = options;
        let needed = reach::needed(graph, starts, taps);
        let mut readers = vec![0; graph.nodes().len()];
        graph.outputs().iter().chain(taps).for_each(|&id| readers[id] += 1);
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
        Ok(Self { steps, taps: taps.clone(), readers })
    }
}

impl<W> Source<W> {
    /// The nodes that a step reads.
    pub(super) fn reads<'g>(&self, graph: &'g Graph, step: Step) -> &'g [NodeId] {
        match self {
            Source::Images | Source::Given => &[],
            Source::Computed(_) => &graph.node(step.first()).inputs,
        }
    }
}
