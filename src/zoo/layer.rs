//! A detector as a list of modules, the way YOLO's own configuration files see it: plain data, not yet a graph.

use crate::graph::{Activation, BatchNorm, Conv, MaxPool};

/// One module of the list and what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Which layers' outputs are read: a place in the list, or, where negative, that many places back (−1 is the layer
    /// before, or the image for the first layer).
    pub from: Vec<isize>,
    /// What is computed.
    pub block: Block,
}

/// The modules that YOLOv5 and YOLOv8 detectors are made of. Each convolution carries its own widths, so a pruned
/// network is as easily said as a stock one.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A convolution with what follows it.
    Conv(ConvBlock),
    /// A residual pair of convolutions, standing alone.
    Bottleneck(Bottleneck),
    /// Cross-stage partial block with three convolutions: `cv3([m(cv1(x)), cv2(x)])` (Wang et al. 2020, CSPNet).
    C3 {
        /// Leads into the bottlenecks.
        cv1: ConvBlock,
        /// Goes past them.
        cv2: ConvBlock,
        /// Joins both.
        cv3: ConvBlock,
        /// The bottlenecks, one after another.
        m: Vec<Bottleneck>,
    },
    /// YOLOv8's block: `cv1(x)` is split in two, every bottleneck reads the one before, and all pieces meet in `cv2`.
    C2f {
        /// Gives both halves.
        cv1: ConvBlock,
        /// Joins all the pieces.
        cv2: ConvBlock,
        /// The bottlenecks; the first reads the last `m[0].cv1.conv.in_channels` channels of `cv1`.
        m: Vec<Bottleneck>,
    },
    /// Spatial pyramid pooling by repeated pooling (He et al. 2014, as YOLOv5 computes it).
    Sppf {
        /// Before the pooling.
        cv1: ConvBlock,
        /// Joins the pooled maps.
        cv2: ConvBlock,
        /// The pooling, applied again and again.
        pool: MaxPool,
        /// How many times.
        times: usize,
        /// Whether the input is added to the result.
        add: bool,
    },
    /// Nearest-neighbour upsampling.
    Upsample {
        /// Factor for height and width.
        scale: usize,
    },
    /// Concatenation along the channels.
    Concat,
    /// The head, which comes last.
    Detect(Detect),
}

/// A detection head.
#[derive(Clone, Debug, PartialEq)]
pub enum Detect {
    /// YOLOv5's: one convolution a level.
    Anchors {
        /// A level each.
        m: Vec<Conv>,
    },
    /// YOLOv8's: two towers a level.
    Distribution {
        /// Box towers, a level each.
        cv2: Vec<Tower>,
        /// Class towers, a level each.
        cv3: Vec<Tower>,
    },
}

/// A convolution, its normalisation and its activation, each of the latter only where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvBlock {
    /// The convolution.
    pub conv: Conv,
    /// Normalisation; absent where it was folded into the convolution.
    pub norm: Option<BatchNorm>,
    /// Activation; absent where it is the identity.
    pub activation: Option<Activation>,
}

/// Two convolutions, and the input added where `add` says so (He et al. 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// First convolution.
    pub cv1: ConvBlock,
    /// Second convolution.
    pub cv2: ConvBlock,
    /// Whether the input is added to the result.
    pub add: bool,
}

/// Convolutions one after another, ending in a bare one.
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    /// All but the last.
    pub blocks: Vec<ConvBlock>,
    /// The last, whose output is the network's.
    pub last: Conv,
}

/// The normalisation that YOLOv5 and YOLOv8 use: eps 1e-3, momentum 0.03.
pub(super) fn batch_norm(channels: usize) -> BatchNorm {
    BatchNorm { channels, eps: 1e-3, momentum: 0.03 }
}

impl ConvBlock {
    /// A convolution with batch normalisation and SiLU, padded to keep the size at stride 1.
    pub fn new(in_channels: usize, out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self {
            conv: Conv::same(in_channels, out_channels, kernel, stride),
            norm: Some(batch_norm(out_channels)),
            activation: Some(Activation::Silu),
        }
    }
}
