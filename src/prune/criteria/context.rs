//! What a criterion may look at, and the units that it scores.

use candle_core::Tensor;

use super::{
    super::{
        error::PruneError,
        granularity::Granularity,
        groups::{ChannelId, Groups},
    },
    measure::Measured,
};
use crate::{
    graph::{NodeId, Role},
    model::Model,
};

/// What a criterion may look at: the model, how its channels are coupled, a seed, and what flowed through it if the
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

impl Context<'_> {
    /// The units of every parameter of this role, one for each channel of its node's output: the sum of `measure` over
    /// the numbers that the parameter has for that channel.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn rows(&self, role: Role, measure: fn(f64) -> f64) -> Result<Vec<Part>, PruneError> {
        let owned = self.model.graph().parameters().filter(|(_, _, parameter)| parameter.role == role);
        owned.map(|(id, name, _)| Ok(self.part(id, sums(&self.model.tensors()[&name], measure)?))).collect()
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

    /// The units of every parameter of this role that has a number for each channel of its node's output: that number times
    /// the gradient of the loss with respect to it, which is what the loss changes by, to first order, when it goes (with
    /// the other sign).
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn first_order(&self, role: Role) -> Result<Vec<Part>, PruneError> {
        let owned = self.model.graph().parameters().filter(|(_, _, parameter)| parameter.role == role);
        owned
            .map(|(id, name, _)| {
                let tensor = &self.model.tensors()[&name];
                let products = match self.measured.gradients.get(&name) {
                    Some(gradient) => tensor.mul(gradient)?,
                    // No gradient reaches it: it does not change the loss.
                    None => tensor.zeros_like()?,
                };
                Ok(self.part(id, sums(&products, |product| product)?))
            })
            .collect()
    }

    /// Scores of the channels of a node's output.
    pub fn part(&self, value: NodeId, scores: Vec<f64>) -> Part {
        Part { value: Some(value), channels: self.groups.labels(value).to_vec(), scores }
    }
}

/// For every index of a tensor's first axis, the sum of `measure` over all that has it.
fn sums(tensor: &Tensor, measure: fn(f64) -> f64) -> Result<Vec<f64>, PruneError> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let each = (values.len() / tensor.dim(0)?.max(1)).max(1);
    Ok(values.chunks_exact(each).map(|row| row.iter().map(|&w| measure(f64::from(w))).sum()).collect())
}
