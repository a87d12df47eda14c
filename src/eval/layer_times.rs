//! Where the time of a run goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{error::EvalError, options::BenchOptions, timing::Timing};
use crate::{
    exec::{StepTimes, convolution_way},
    graph::NodeId,
    model::{Model, ModelError},
};

/// What a layer takes of a run, together with those that run in one with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerTime {
    /// Its name.
    pub layer: String,
    /// Its kind.
    pub kind: String,
    /// How it ran forwards, where there is more than one way: by Winograd's or directly, and what it multiplied.
    pub way: Option<String>,
    /// Shape of its output for one image: channels, height, width.
    pub output: [usize; 3],
    /// Multiply-accumulates forwards, of the whole batch. Backwards there are twice as many.
    pub macs: u64,
    /// Seconds forwards.
    pub forward: f64,
    /// Seconds backwards, where it was run backwards.
    pub backward: Option<f64>,
}

impl LayerTime {
    /// Seconds both ways.
    pub fn seconds(&self) -> f64 {
        self.forward + self.backward.unwrap_or(0.0)
    }
}

/// The medians of several runs, in the order of the graph.
pub(super) fn layer_times(
    model: &Model,
    options: &BenchOptions,
    inference: bool,
    runs: &[StepTimes],
) -> Result<Vec<LayerTime>, EvalError> {
    let image = [options.size; 2];
    let graph = model.graph();
    let (shapes, costs) =
        (graph.shapes(image).map_err(ModelError::from)?, graph.costs(image).map_err(ModelError::from)?);
    let forward = medians(runs.iter().flat_map(|run| &run.forward));
    let backward = medians(runs.iter().flat_map(|run| &run.backward));
    let layer = |(&id, &seconds): (&NodeId, &f64)| {
        let (node, shape) = (graph.node(id), shapes[id]);
        LayerTime {
            layer: node.name.clone(),
            kind: node.op.kind().to_owned(),
            way: convolution_way(&node.op, options.precision, inference),
            output: [shape.channels, shape.height, shape.width],
            macs: costs[id].macs * options.batch as u64,
            forward: seconds,
            backward: backward.get(&id).copied(),
        }
    };
    Ok(forward.iter().map(layer).collect())
}

fn medians<'a>(times: impl Iterator<Item = &'a (NodeId, f64)>) -> BTreeMap<NodeId, f64> {
    let mut by_node: BTreeMap<NodeId, Vec<f64>> = BTreeMap::new();
    for &(id, seconds) in times {
        by_node.entry(id).or_default().push(seconds);
    }
    by_node.into_iter().map(|(id, seconds)| (id, Timing::new(seconds).median())).collect()
}
