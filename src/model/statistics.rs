//! What the weights of a model are like: a row for every convolution, and one convolution filter by filter.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{error::ModelError, value::Model};
use crate::{
    graph::{Conv, NodeId, Op, Role, Shape},
    nearest::did_you_mean,
};

/// Magnitudes below this count as nearly zero.
pub const NEAR_ZERO: f32 = 1e-3;

/// What numbers are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many there are.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the population.
    pub std: f64,
    /// Mean magnitude.
    pub abs_mean: f64,
    /// Largest magnitude.
    pub abs_max: f64,
    /// Sum of the magnitudes.
    pub l1: f64,
    /// Square root of the sum of the squares.
    pub l2: f64,
    /// Share of exact zeros.
    pub zeros: f64,
    /// Share of magnitudes below [`NEAR_ZERO`].
    pub near_zeros: f64,
}

/// Sums over numbers as they come; [`Statistics`] once all are in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accumulator {
    count: u64,
    sum: f64,
    squares: f64,
    magnitudes: f64,
    largest: f32,
    zeros: u64,
    near_zeros: u64,
}

impl Accumulator {
    /// Counts these in.
    pub fn add(&mut self, values: &[f32]) {
        self.count += values.len() as u64;
        for &value in values {
            let wide = f64::from(value);
            self.sum += wide;
            self.squares += wide * wide;
            self.magnitudes += wide.abs();
            self.largest = self.largest.max(value.abs());
            self.zeros += u64::from(value == 0.0);
            self.near_zeros += u64::from(value.abs() < NEAR_ZERO);
        }
    }

    /// Adds what another has.
    pub fn merge(&mut self, other: &Accumulator) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.magnitudes += other.magnitudes;
        self.largest = self.largest.max(other.largest);
        self.zeros += other.zeros;
        self.near_zeros += other.near_zeros;
    }

    /// What the numbers so far are like; zeros if there were none.
    pub fn statistics(&self) -> Statistics {
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        Statistics {
            count: self.count,
            mean,
            std: (self.squares / count - mean * mean).max(0.0).sqrt(),
            abs_mean: self.magnitudes / count,
            abs_max: f64::from(self.largest),
            l1: self.magnitudes,
            l2: self.squares.sqrt(),
            zeros: self.zeros as f64 / count,
            near_zeros: self.near_zeros as f64 / count,
        }
    }
}

impl Statistics {
    /// Of these numbers.
    pub fn of(values: &[f32]) -> Self {
        let mut sums = Accumulator::default();
        sums.add(values);
        sums.statistics()
    }
}

/// A convolution, with the normalisation that follows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerStatistics {
    /// Name of the convolution's node.
    pub name: String,
    /// Kind of layer: `Conv`, or `DWConv` where every filter reads one channel of its own.
    pub kind: String,
    /// Shape of what it reads, at the image size asked for.
    pub input: Shape,
    /// Shape of what it gives.
    pub output: Shape,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Step between output positions, down and across.
    pub stride: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Trained numbers of the convolution (weight and bias).
    pub params: u64,
    /// Trained numbers of the normalisation that follows.
    pub norm_params: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Share of the network's multiply-accumulates.
    pub macs_share: f64,
    /// What the weight is like.
    pub weight: Statistics,
    /// Share of the weight that a mask holds at zero, if it has a mask.
    pub masked: Option<f64>,
    /// Least and largest scale of the normalisation that follows.
    pub norm_scale: Option<[f32; 2]>,
}

/// One filter of a convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterStatistics {
    /// Its index, that is, its output channel.
    pub filter: usize,
    /// What its weight is like.
    pub weight: Statistics,
    /// Its bias.
    pub bias: Option<f32>,
    /// Scale (gamma) of its channel in the normalisation that follows.
    pub norm_scale: Option<f32>,
    /// Shift (beta) of its channel in the normalisation that follows.
    pub norm_shift: Option<f32>,
}

/// How often numbers fall into bins of equal width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower edge of the first bin: the least number.
    pub low: f32,
    /// Upper edge of the last bin: the largest number, which belongs to it.
    pub high: f32,
    /// Numbers in each bin.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Of the finite ones of these numbers, in so many bins.
    pub fn of(values: &[f32], bins: usize) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) =
            finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high || bins == 0 {
            return Self { low: 0.0, high: 0.0, counts: vec![0; bins] };
        }
        let mut counts = vec![0; bins];
        let width = (f64::from(high) - f64::from(low)).max(f64::MIN_POSITIVE);
        for value in finite() {
            let place = (f64::from(value) - f64::from(low)) / width * bins as f64;
            counts[(place as usize).min(bins - 1)] += 1;
        }
        Self { low, high, counts }
    }
}

/// One convolution in detail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerDetail {
    /// Its row among the layers.
    pub layer: LayerStatistics,
    /// How its weights are distributed.
    pub histogram: Histogram,
    /// Its filters, in order.
    pub filters: Vec<FilterStatistics>,
}

impl Model {
    /// A row for every convolution, in the order in which they run, for square images of `size` pixels.
    ///
    /// # Errors
    /// Where the network cannot run at that size, or its tensors cannot be brought to the CPU.
    pub fn layers(&self, size: usize) -> Result<Vec<LayerStatistics>, ModelError> {
        let shapes = self.graph.shapes([size, size])?;
        let costs = self.graph.costs([size, size])?;
        let total: u64 = costs.iter().map(|cost| cost.macs).sum();
        let row = |(id, conv): (NodeId, Conv)| {
            let node = self.graph.node(id);
            let norm = self.norm_after(id);
            let scale = norm.map(|norm| self.values(norm, "weight")).transpose()?;
            let range = |scale: Vec<f32>| {
                scale.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &s| [low.min(s), high.max(s)])
            };
            Ok(LayerStatistics {
                name: node.name.clone(),
                kind: if conv.is_depthwise() { "DWConv" } else { node.op.kind() }.to_owned(),
                input: shapes[node.inputs[0]],
                output: shapes[id],
                kernel: conv.kernel,
                stride: conv.stride,
                groups: conv.groups,
                params: costs[id].params,
                norm_params: norm.map_or(0, |norm| costs[norm].params),
                macs: costs[id].macs,
                macs_share: costs[id].macs as f64 / total.max(1) as f64,
                weight: Statistics::of(&self.values(id, "weight")?),
                masked: self.masked_share(&node.tensor_name("weight"))?,
                norm_scale: scale.map(range),
            })
        };
        self.convolutions().collect::<Vec<_>>().into_par_iter().map(row).collect()
    }

    /// One convolution in detail, by the name of its node or of the module that holds it and no other.
    ///
    /// # Errors
    /// Where there is no such convolution (with the nearest name), or as [`layers`](Self::layers).
    pub fn layer(&self, name: &str, size: usize, bins: usize) -> Result<LayerDetail, ModelError> {
        let id = self.find_convolution(name)?;
        let mut layers = self.layers(size)?;
        let place = self.convolutions().take_while(|&(other, _)| other != id).count();
        let weights = self.values(id, "weight")?;
        let norm = self.norm_after(id);
        let of_norm = |suffix: &str| norm.map(|norm| self.values(norm, suffix)).transpose();
        let (scales, shifts) = (of_norm("weight")?, of_norm("bias")?);
        let biases = self.tensors.get(&self.graph.node(id).tensor_name("bias")).map(to_vec).transpose()?;
        let layer = layers.swap_remove(place);
        let each = (weights.len() / layer.output.channels).max(1);
        let at =
            |values: &Option<Vec<f32>>, index: usize| values.as_ref().and_then(|values| values.get(index).copied());
        let filters = weights.chunks_exact(each).enumerate().map(|(filter, weight)| FilterStatistics {
            filter,
            weight: Statistics::of(weight),
            bias: at(&biases, filter),
            norm_scale: at(&scales, filter),
            norm_shift: at(&shifts, filter),
        });
        Ok(LayerDetail { filters: filters.collect(), histogram: Histogram::of(&weights, bins), layer })
    }

    /// The convolutions, in the order in which they run.
    pub fn convolutions(&self) -> impl Iterator<Item = (NodeId, Conv)> + '_ {
        let nodes = self.graph.nodes().iter().enumerate();
        nodes.filter_map(|(id, node)| node.op.as_conv().map(|conv| (id, *conv)))
    }

    /// The normalisation that alone reads this node.
    pub fn norm_after(&self, id: NodeId) -> Option<NodeId> {
        self.graph.sole_reader(id).filter(|&reader| self.graph.node(reader).op.owns(Role::NormScale))
    }

    /// The last value of a convolution's unit: after its normalisation and its activation function, where they alone
    /// read it.
    pub fn unit_output(&self, id: NodeId) -> NodeId {
        let last = self.norm_after(id).unwrap_or(id);
        let active = |&reader: &NodeId| matches!(self.graph.node(reader).op, Op::Activation(_));
        self.graph.sole_reader(last).filter(active).unwrap_or(last)
    }

    fn find_convolution(&self, name: &str) -> Result<NodeId, ModelError> {
        let inside = |node: &str| node.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let found: Vec<NodeId> =
            self.convolutions().map(|(id, _)| id).filter(|&id| inside(&self.graph.node(id).name)).collect();
        if let [only] = found[..] {
            return Ok(only);
        }
        let names = || self.convolutions().map(|(id, _)| self.graph.node(id).name.as_str());
        let reason = match found.first() {
            Some(&first) => {
                format!(
                    "{} layers are inside; name one of them, such as `{}`",
                    found.len(),
                    self.graph.node(first).name
                )
            }
            None => format!("there is no such layer{}", did_you_mean(name, names())),
        };
        Err(ModelError::Layer { name: name.into(), reason })
    }

    fn values(&self, id: NodeId, suffix: &str) -> Result<Vec<f32>, ModelError> {
        let node = self.graph.node(id);
        let name = node.tensor_name(suffix);
        match self.tensors.get(&name) {
            Some(tensor) => to_vec(tensor),
            None => Err(ModelError::MissingTensor { name, layer: node.name.clone(), expected: Vec::new() }),
        }
    }
}

fn to_vec(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests;
