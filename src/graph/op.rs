//! The operations a node can be, their attributes, and the parameters they own.

use serde::{Deserialize, Serialize};

use super::parameter::{Axis, Parameter, Role};

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

impl Activation {
    /// Whether it maps whole ranges to exactly zero, so that zeros occur in what it gives.
    pub fn has_exact_zeros(self) -> bool {
        match self {
            Activation::Relu | Activation::Hardswish => true,
            Activation::Silu | Activation::LeakyRelu { .. } => false,
        }
    }
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

impl Op {
    /// The tensors this operation owns, in state-dict order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |suffix, axes, shape: &[usize], role| Parameter { suffix, axes, shape: shape.to_vec(), role };
        let per_channel = |suffix, channels, role| parameter(suffix, &[Axis::Out], &[channels], role);
        match self {
            Op::Conv(conv) => {
                let axes: &[Axis] = match conv.groups {
                    1 => &[Axis::Out, Axis::In, Axis::Kernel, Axis::Kernel],
                    _ => &[Axis::Out, Axis::InGroup, Axis::Kernel, Axis::Kernel],
                };
                let mut owned = vec![parameter("weight", axes, &conv.weight_shape(), Role::Weight)];
                if conv.bias {
                    owned.push(per_channel("bias", conv.out_channels, Role::Bias));
                }
                owned
            }
            Op::BatchNorm(norm) => vec![
                per_channel("weight", norm.channels, Role::NormScale),
                per_channel("bias", norm.channels, Role::NormShift),
                per_channel("running_mean", norm.channels, Role::RunningMean),
                per_channel("running_var", norm.channels, Role::RunningVar),
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

    /// The tensor of this role, if the operation owns one.
    pub fn parameter(&self, role: Role) -> Option<Parameter> {
        self.parameters().into_iter().find(|parameter| parameter.role == role)
    }

    /// Whether the operation owns a tensor of this role: [`Role::Weight`] is that of filters, [`Role::NormScale`] that of
    /// a normalisation.
    pub fn owns(&self, role: Role) -> bool {
        self.parameter(role).is_some()
    }

    /// The attributes of a convolution, or `None` for any other operation.
    pub fn as_conv(&self) -> Option<&Conv> {
        if let Op::Conv(conv) = self { Some(conv) } else { None }
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
