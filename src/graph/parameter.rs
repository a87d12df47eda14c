//! The tensors that operations own: what they are to their node, and what each of their axes runs over.

use serde::{Deserialize, Serialize};

/// A tensor that an operation owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Last part of the tensor's name, such as `weight`; the node's name comes before it.
    pub suffix: &'static str,
    /// What each axis runs over.
    pub axes: &'static [Axis],
    /// Shape of the tensor, an extent for each axis.
    pub shape: Vec<usize>,
    /// What it is to the node.
    pub role: Role,
}

impl Parameter {
    /// How many numbers it has. In a graph that was validated the product fits.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many numbers it has for each channel of the node's output: of a weight, those of a filter (the fan-in).
    pub fn per_output(&self) -> usize {
        let others = self.axes.iter().zip(&self.shape).filter(|(axis, _)| **axis != Axis::Out);
        others.map(|(_, extent)| extent).product()
    }

    /// For every axis that runs over the channels of a value, its place and what stands for that value: the node's
    /// `input` or its `output`.
    pub fn channel_axes<V>(&self, input: V, output: V) -> Vec<(usize, V)>
    where
        V: Copy,
    {
        let value = |axis: &Axis| match axis {
            Axis::Out => Some(output),
            Axis::In => Some(input),
            Axis::InGroup | Axis::Kernel => None,
        };
        self.axes.iter().enumerate().filter_map(|(place, axis)| Some((place, value(axis)?))).collect()
    }

    /// The place of the axis that runs over all channels of the node's input, if there is one.
    pub fn input_axis(&self) -> Option<usize> {
        self.axes.iter().position(|&axis| axis == Axis::In)
    }
}

/// What an axis of a parameter runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The channels of the node's output.
    Out,
    /// The channels of the node's input.
    In,
    /// The input channels that a filter of a grouped convolution reads: one in a depthwise convolution. They go with the
    /// filters that read them, so that the axis keeps its extent.
    InGroup,
    /// Positions in the kernel, down or across.
    Kernel,
}

/// What a parameter tensor is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A convolution's weight: filters, each number of which is multiplied once for every output position.
    Weight,
    /// A convolution's bias.
    Bias,
    /// A normalisation's scale (gamma).
    NormScale,
    /// A normalisation's shift (beta).
    NormShift,
    /// A normalisation's running mean; not trained.
    RunningMean,
    /// A normalisation's running variance; not trained.
    RunningVar,
}

impl Role {
    /// Whether gradients reach it. What is not trained does not count as a parameter either.
    pub fn is_trainable(self) -> bool {
        match self {
            Role::Weight | Role::Bias | Role::NormScale | Role::NormShift => true,
            Role::RunningMean | Role::RunningVar => false,
        }
    }

    /// Whether weight decay applies: to convolution weights only, never to biases or normalisation.
    pub fn decays(self) -> bool {
        self == Role::Weight
    }
}
