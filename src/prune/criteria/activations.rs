//! Counting activations, channel by channel, as they pass.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::{
    exec::{Observer, ObserverError},
    graph::{Graph, GraphError, NodeId, Op},
};

/// Magnitudes up to this share of a layer's root mean square count as zero where its function has no exact zeros.
const NEAR_ZERO: f64 = 0.01;

/// What a channel of a node's output was like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelActivations {
    /// Activations seen: images × places.
    pub count: u64,
    /// Those of them that were zero. Of a function that gives exact zeros (ReLU, Hardswish) those are meant; of any other,
    /// magnitudes of at most 0.01 of the root mean square of all channels of the layer in the batch.
    pub zeros: u64,
    /// The sum of their magnitudes.
    pub magnitudes: f64,
}

impl ChannelActivations {
    /// The share of the activations that were zero; 0 if none were seen.
    pub fn zero_rate(&self) -> f64 {
        self.zeros as f64 / self.count.max(1) as f64
    }

    /// The mean magnitude; 0 if none were seen.
    pub fn mean_magnitude(&self) -> f64 {
        self.magnitudes / self.count.max(1) as f64
    }
}

/// Counts the activations of some nodes.
pub struct Counter<'a> {
    graph: &'a Graph,
    /// What was counted so far.
    pub channels: BTreeMap<NodeId, Vec<ChannelActivations>>,
}

impl<'a> Counter<'a> {
    /// Of these nodes of a graph.
    ///
    /// # Errors
    /// Where the graph does not fit together.
    pub fn new(graph: &'a Graph, nodes: &[NodeId]) -> Result<Self, GraphError> {
        let channels = graph.channels()?;
        let empty = |&node: &NodeId| (node, vec![ChannelActivations::default(); channels[node]]);
        Ok(Self { graph, channels: nodes.iter().map(empty).collect() })
    }
}

impl Observer for Counter<'_> {
    fn wants(&self, node: NodeId) -> bool {
        self.channels.contains_key(&node)
    }

    fn value(&mut self, node: NodeId, value: &Tensor) -> Result<(), ObserverError> {
        let Some(channels) = self.channels.get_mut(&node) else { return Ok(()) };
        let (_, _, height, width) = value.dims4()?;
        let values = value.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let threshold = zero_threshold(&self.graph.node(node).op, &values)?;
        for (place, plane) in values.chunks_exact((height * width).max(1)).enumerate() {
            let index = place % channels.len();
            let channel = &mut channels[index];
            channel.count += plane.len() as u64;
            channel.zeros += plane.iter().filter(|value| value.abs() <= threshold).count() as u64;
            channel.magnitudes += plane.iter().map(|&value| f64::from(value).abs()).sum::<f64>();
        }
        Ok(())
    }
}

/// The largest magnitude that counts as zero in the output of an operation.
fn zero_threshold(op: &Op, values: &[f32]) -> Result<f32, ObserverError> {
    let squares: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let rms = (squares / values.len().max(1) as f64).sqrt();
    if !rms.is_finite() {
        return Err("it gives numbers that are not finite".into());
    }
    match op {
        Op::Activation(function) if function.has_exact_zeros() => Ok(0.0),
        Op::Activation(_)
        | Op::Input { .. }
        | Op::Conv(_)
        | Op::BatchNorm(_)
        | Op::MaxPool(_)
        | Op::Upsample { .. }
        | Op::Add
        | Op::Concat
        | Op::Slice { .. } => Ok((NEAR_ZERO * rms) as f32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Activation;

    #[test]
    fn zeros_are_counted_by_channel() {
        let count = |activation| {
            let mut graph = Graph::new();
            graph.add("images", Op::Input { channels: 2 }, &[]);
            let node = graph.add("act", Op::Activation(activation), &[0]);
            let mut counter = Counter::new(&graph, &[node]).unwrap();
            // Two images, two channels, two places; the root mean square is 1.
            let values = vec![0.0, 1.0, 0.005f32, 1.0, 2f32.sqrt(), 2f32.sqrt(), 1.0, 1.0];
            let value = Tensor::from_vec(values, (2, 2, 1, 2), &Device::Cpu).unwrap();
            assert!(counter.wants(node) && !counter.wants(0));
            counter.value(node, &value).unwrap();
            counter.channels[&node].iter().map(ChannelActivations::zero_rate).collect::<Vec<_>>()
        };
        assert_eq!(count(Activation::Relu), [0.25, 0.0]);
        assert_eq!(count(Activation::Silu), [0.25, 0.25]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_an_error() {
        assert!(zero_threshold(&Op::Add, &[1.0, f32::NAN]).is_err());
        assert!(zero_threshold(&Op::Add, &[]).is_ok_and(|threshold| threshold == 0.0));
    }
}
