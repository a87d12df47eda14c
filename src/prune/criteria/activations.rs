//! Counting activations, channel by channel, as they pass.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::planes::{Mean, by_channel};
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
    /// Their sum.
    pub sum: f64,
    /// The sum of their magnitudes.
    pub magnitudes: f64,
    /// The sum of their squares.
    pub squares: f64,
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

    /// The standard deviation of the population; 0 if none were seen.
    pub fn deviation(&self) -> f64 {
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        (self.squares / count - mean * mean).max(0.0).sqrt()
    }

    /// √Σ a².
    pub fn norm(&self) -> f64 {
        self.squares.sqrt()
    }

    fn of(plane: &[f32], threshold: f32) -> Self {
        let mut found = Self { count: plane.len() as u64, ..Self::default() };
        for &value in plane {
            let wide = f64::from(value);
            found.zeros += u64::from(value.abs() <= threshold);
            found.sum += wide;
            found.magnitudes += wide.abs();
            found.squares += wide * wide;
        }
        found
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.zeros += other.zeros;
        self.sum += other.sum;
        self.magnitudes += other.magnitudes;
        self.squares += other.squares;
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
        let threshold = zero_threshold(&self.graph.node(node).op, rms(value)?)?;
        let of = |plane: &[f32]| ChannelActivations::of(plane, threshold);
        by_channel(value, of, |channel, found| channels[channel].add(found))?;
        Ok(())
    }
}

/// The root mean square of all numbers.
fn rms(value: &Tensor) -> candle_core::Result<f64> {
    let mut squares = Mean::default();
    let of = |plane: &[f32]| (plane.iter().map(|&a| f64::from(a) * f64::from(a)).sum(), plane.len() as u64);
    by_channel(value, of, |_, (sum, count): (f64, u64)| squares.add(sum, count))?;
    Ok(squares.value().sqrt())
}

/// The largest magnitude that counts as zero in the output of an operation.
fn zero_threshold(op: &Op, rms: f64) -> Result<f32, ObserverError> {
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
    use candle_core::Device;

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
    fn sums_are_those_of_the_numbers() {
        let [mut whole, part] = [&[1.0, -2.0][..], &[4.0, 1.0]].map(|plane| ChannelActivations::of(plane, 0.0));
        whole.add(part);
        assert_eq!((whole.count, whole.mean_magnitude(), whole.norm()), (4, 2.0, 22f64.sqrt()));
        assert!((whole.deviation() - (22.0 / 4.0 - 1.0f64).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn numbers_that_are_not_finite_are_an_error() {
        assert!(zero_threshold(&Op::Add, f64::NAN).is_err());
        assert!(zero_threshold(&Op::Add, 0.0).is_ok_and(|threshold| threshold == 0.0));
    }
}
