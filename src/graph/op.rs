//! The operations a node can be, their attributes, and the parameters they own.

use serde::{Deserialize, Serialize};

/// What a node computes. Closed and matched exhaustively: a new operation is found by the compiler wherever something
/// must be known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Op {
    /// The image batch, (n, `channels`, h, w).
    Input {
        /// Channels of the image, 3 for RGB.
        channels: usize,
    },
    /// A two-dimensional convolution (cross-correlation, as in PyTorch).
    Conv(Conv),
    /// Batch normalisation over (n, h, w) for each channel (Ioffe and Szegedy 2015).
    BatchNorm(BatchNorm),
    /// An element-wise activation function.
    Activation(Activation),
    /// Max-pooling with implicit −∞ padding.
    MaxPool(MaxPool),
    /// Nearest-neighbour upsampling by a whole factor.
    Upsample {
        /// Factor for height and width.
        scale: usize,
    },
    /// Element-wise sum of two or more inputs of equal shape.
    Add,
    /// Concatenation along the channels.
    Concat,
    /// A contiguous range of channels.
    Slice {
        /// First channel taken.
        start: usize,
        /// How many channels are taken.
        len: usize,
    },
}

/// Attributes of a convolution; pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv {
    /// Channels of the input.
    pub in_channels: usize,
    /// Filters, and so channels of the output.
    pub out_channels: usize,
    /// Kernel size.
    pub kernel: [usize; 2],
    /// Step between output positions.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub padding: [usize; 2],
    /// Distance between kernel taps.
    pub dilation: [usize; 2],
    /// Groups; equal to both channel counts in a depthwise convolution.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Conv {
    /// A square, undilated, ungrouped convolution without bias and with the padding that keeps the size at stride 1.
    pub fn same(in_channels: usize, out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            dilation: [1; 2],
            groups: 1,
            bias: false,
        }
    }

    /// Shape of the weight: (out, in / groups, kernel height, kernel width).
    pub fn weight_shape(&self) -> [usize; 4] {
        let in_per_group = self.in_channels / self.groups.max(1);
        [self.out_channels, in_per_group, self.kernel[0], self.kernel[1]]
    }

    /// Whether every filter reads exactly the one input channel of its own index.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }
}

/// Attributes of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Channels normalised.
    pub channels: usize,
    /// Added to the variance before the square root.
    pub eps: f64,
    /// Share of the new batch in the running averages (PyTorch's meaning).
    pub momentum: f64,
}

/// The element-wise activation functions that occur in YOLO detectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case")]
pub enum Activation {
    /// x · sigmoid(x) (Elfwing et al. 2017).
    Silu,
    /// max(x, 0).
    Relu,
    /// x where positive, `slope`·x elsewhere.
    LeakyRelu {
        /// Factor of the negative side.
        slope: f64,
    },
    /// x · clamp(x + 3, 0, 6) / 6 (Howard et al. 2019).
    Hardswish,
}

/// Attributes of a square max-pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Window height and width.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Padding on each side; it never wins.
    pub padding: usize,
}

/// What a parameter tensor is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A convolution's weight.
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

/// A tensor that an operation owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Last part of the tensor's name, such as `weight`; the node's name comes before it.
    pub suffix: &'static str,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// What it is to the node.
    pub role: Role,
}

impl Op {
    /// The tensors this operation owns, in state-dict order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |suffix, shape: &[usize], role| Parameter { suffix, shape: shape.to_vec(), role };
        match self {
            Op::Conv(conv) => {
                let mut owned = vec![parameter("weight", &conv.weight_shape(), Role::Weight)];
                if conv.bias {
                    owned.push(parameter("bias", &[conv.out_channels], Role::Bias));
                }
                owned
            }
            Op::BatchNorm(norm) => vec![
                parameter("weight", &[norm.channels], Role::NormScale),
                parameter("bias", &[norm.channels], Role::NormShift),
                parameter("running_mean", &[norm.channels], Role::RunningMean),
                parameter("running_var", &[norm.channels], Role::RunningVar),
            ],
            Op::Input { .. }
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::Upsample { .. }
            | Op::Add
            | Op::Concat
            | Op::Slice { .. } => Vec::new(),
        }
    }

    /// Short name shown in tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input { .. } => "Input",
            Op::Conv(_) => "Conv",
            Op::BatchNorm(_) => "BatchNorm",
            Op::Activation(Activation::Silu) => "SiLU",
            Op::Activation(Activation::Relu) => "ReLU",
            Op::Activation(Activation::LeakyRelu { .. }) => "LeakyReLU",
            Op::Activation(Activation::Hardswish) => "Hardswish",
            Op::MaxPool(_) => "MaxPool",
            Op::Upsample { .. } => "Upsample",
            Op::Add => "Add",
            Op::Concat => "Concat",
            Op::Slice { .. } => "Slice",
        }
    }
}
