//! What a criterion may look at, and the units that it scores.

use candle_core::Tensor;

use super::{
    super::{
        error::PruneError,
        granularity::Granularity,
        groups::{ChannelId, Groups},
    },
    measured::Measured,
};
use crate::{
    graph::{Conv, NodeId, Role},
    model::{Model, Tensors},
};

/// What a criterion may look at: the model, how its channels are coupled, options, and what flowed through it if the
/// criterion asked for that.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its groups.
    pub groups: &'a Groups,
    /// What goes as a unit.
    pub granularity: Granularity,
    /// Magnitudes of weights below this count as zero.
    pub threshold: f64,
    /// Side of the square images that MACs are counted for, in pixels.
    pub size: usize,
    /// For whatever is drawn.
    pub seed: u64,
    /// What was measured on images of what the criterion [needs](super::Criterion::needs).
    pub measured: &'a Measured,
}

/// The scores of the units of one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The node whose output's channels the units are, in order, if they are those of one.
    pub value: Option<NodeId>,
    /// The coupled channel that each unit belongs to.
    pub channels: Vec<ChannelId>,
    /// The score of each unit.
    pub scores: Vec<f64>,
}

/// The scores of every number of the weight of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightScores {
    /// The convolution.
    pub node: NodeId,
    /// Full name of its weight.
    pub name: String,
    /// Shape of the weight: (filters, input channels a filter reads, kernel height, kernel width).
    pub shape: [usize; 4],
    /// A score for every number, in the order of the tensor.
    pub scores: Vec<f32>,
}

/// The weight of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    /// The convolution.
    pub node: NodeId,
    /// Its attributes.
    pub conv: &'a Conv,
    /// Full name of the weight.
    pub name: &'a str,
    /// Its numbers, in the order of the tensor.
    pub numbers: &'a [f32],
}

impl Context<'_> {
    /// The units of every parameter of this role, one for each channel of its node's output: the sum of `measure` over
    /// the numbers that the parameter has for that channel.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn rows(&self, role: Role, measure: fn(f64) -> f64) -> Result<Vec<Part>, PruneError> {
        self.owned(role, |_, tensor| sums(tensor, measure))
    }

    /// The same of `measure` of each number and the one at its place in `others`, such as its gradient; 0 where `others`
    /// lacks the parameter, as gradients do that nothing reaches.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn paired(&self, role: Role, others: &Tensors, measure: fn(f64, f64) -> f64) -> Result<Vec<Part>, PruneError> {
        self.owned(role, |name, tensor| {
            let numbers = numbers(tensor)?;
            let others = others.get(name).map_or_else(|| Ok(vec![0.0; numbers.len()]), self::numbers)?;
            let each = (numbers.len() / tensor.dim(0)?.max(1)).max(1);
            let sum = |(own, other): (&[f32], &[f32])| {
                own.iter().zip(other).map(|(&own, &other)| measure(f64::from(own), f64::from(other))).sum()
            };
            Ok(numbers.chunks_exact(each).zip(others.chunks_exact(each)).map(sum).collect())
        })
    }

    /// The units of every filter, one for each channel of its convolution's output, as `score` gives them for its weight.
    ///
    /// # Errors
    /// Where a tensor cannot be read, or that of `score`.
    pub fn filters(&self, score: impl Fn(Weight<'_>) -> Result<Vec<f64>, PruneError>) -> Result<Vec<Part>, PruneError> {
        self.convolutions(|weight| Ok(self.part(weight.node, score(weight)?)))
    }

    /// The units of every parameter that reads all channels of a value, one for each of them: the sum of `measure` over
    /// the numbers that read the channel.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn columns(&self, measure: fn(f64) -> f64) -> Result<Vec<Part>, PruneError> {
        let readers = self.model.graph().readers().into_iter();
        readers
            .map(|reader| {
                let columns = self.model.tensors()[&reader.name].transpose(0, reader.axis)?;
                Ok(self.part(reader.input, sums(&columns, measure)?))
            })
            .collect()
    }

    /// The units of what flows at these nodes, one for each of their channels.
    pub fn flows<T>(&self, nodes: &[NodeId], measured: impl Fn(NodeId) -> Option<T>) -> Vec<Part>
    where
        T: IntoIterator<Item = f64>,
    {
        let part = |&node: &NodeId| Some(self.part(node, measured(node)?.into_iter().collect()));
        nodes.iter().filter_map(part).collect()
    }

    /// The scores of every number of every convolution's weight, as `score` gives them.
    ///
    /// # Errors
    /// Where a tensor cannot be read, or that of `score`.
    pub fn each_weight(
        &self,
        score: impl Fn(Weight<'_>) -> Result<Vec<f32>, PruneError>,
    ) -> Result<Vec<WeightScores>, PruneError> {
        self.convolutions(|weight| {
            let (node, name, shape) = (weight.node, weight.name.to_owned(), weight.conv.weight_shape());
            Ok(WeightScores { node, name, shape, scores: score(weight)? })
        })
    }

    /// The same of `measure` of each number and the one at its place in `others`, such as its gradient; 0 where `others`
    /// lacks the weight.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn paired_weights(
        &self,
        others: &Tensors,
        measure: fn(f64, f64) -> f64,
    ) -> Result<Vec<WeightScores>, PruneError> {
        self.each_weight(|weight| {
            let others = others.get(weight.name).map_or_else(|| Ok(vec![0.0; weight.numbers.len()]), numbers)?;
            let score = |(&own, &other): (&f32, &f32)| measure(f64::from(own), f64::from(other)) as f32;
            Ok(weight.numbers.iter().zip(&others).map(score).collect())
        })
    }

    /// Scores of the channels of a node's output.
    pub fn part(&self, value: NodeId, scores: Vec<f64>) -> Part {
        Part { value: Some(value), channels: self.groups.labels(value).to_vec(), scores }
    }

    fn owned(
        &self,
        role: Role,
        score: impl Fn(&str, &Tensor) -> Result<Vec<f64>, PruneError>,
    ) -> Result<Vec<Part>, PruneError> {
        let owned = self.model.graph().parameters().filter(|(_, _, parameter)| parameter.role == role);
        owned.map(|(id, name, _)| Ok(self.part(id, score(&name, &self.model.tensors()[&name])?))).collect()
    }

    fn convolutions<T>(&self, each: impl Fn(Weight<'_>) -> Result<T, PruneError>) -> Result<Vec<T>, PruneError> {
        let convolutions = self.model.convolutions();
        convolutions
            .map(|(node, conv)| {
                let name = self.model.graph().node(node).tensor_name("weight");
                let numbers = numbers(&self.model.tensors()[&name])?;
                each(Weight { node, conv: &conv, name: &name, numbers: &numbers })
            })
            .collect()
    }
}

/// For every index of a tensor's first axis, the sum of `measure` over all that has it.
fn sums(tensor: &Tensor, measure: fn(f64) -> f64) -> Result<Vec<f64>, PruneError> {
    let values = numbers(tensor)?;
    let each = (values.len() / tensor.dim(0)?.max(1)).max(1);
    Ok(values.chunks_exact(each).map(|row| row.iter().map(|&w| measure(f64::from(w))).sum()).collect())
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, PruneError> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
}
