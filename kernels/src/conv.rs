//! Convolution: forward, and the gradients of its input, weight and bias. Any kernel, stride, padding, dilation, groups.
//!
//! One scheme: each channel is copied once into padded planes (module `planes`), in which every kernel tap is a
//! constant offset; then a register-tiled kernel (module `correlate`) sums over input channels and taps directly from
//! those planes. The data gradient is the same computation with the roles of the channels exchanged: for stride `s`, one
//! such pass for each of the `s × s` phases of input positions, over the taps that reach them. The weight gradient
//! (module `weight_gradient`) sums over positions, from the same planes.
//!
//! 3×3 kernels with stride 1 and enough channels, which most products of a detector belong to, take fewer products by
//! Winograd's way (modules `winograd` and `winograd_gradient`).

use super::channels::Channels;
use super::correlate::{self, Finish, Pass};
use super::dtype::ComputeDtype;
use super::norm;
use super::pack::{Kernels, Packed, pack};
use super::planes::{Planes, Tap};
use super::sizes::Sizes;
use super::weight_gradient;
use super::winograd;
use super::winograd_gradient;
use super::winograd_kernels::{Size, Transformed, Untransformed};
use rayon::prelude::*;

/// The sizes of a 2-d convolution; pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// What is multiplied.
    pub dtype: ComputeDtype,
    /// Images.
    pub batch: usize,
    /// Channels of the input, a multiple of `groups`.
    pub in_channels: usize,
    /// Channels of the output, a multiple of `groups`.
    pub out_channels: usize,
    /// Height and width of the input.
    pub in_hw: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Zeros added on either side.
    pub padding: [usize; 2],
    /// Steps between the kernel's taps.
    pub dilation: [usize; 2],
    /// Channel groups; group `g` of the output sees group `g` of the input only.
    pub groups: usize,
}

impl ConvShape {
    /// Height and width of the output; zero where the kernel is larger than the padded input.
    pub fn out_hw(&self) -> [usize; 2] {
        [0, 1].map(|a| {
            let padded = self.in_hw[a] + 2 * self.padding[a];
            let kernel = (self.kernel[a] - 1) * self.dilation[a] + 1;
            if padded < kernel { 0 } else { (padded - kernel) / self.stride[a] + 1 }
        })
    }

    /// Length of the input, `[batch][in_channels][height][width]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.in_hw[0] * self.in_hw[1]
    }

    /// Length of the output, `[batch][out_channels][height][width]`.
    pub fn output_len(&self) -> usize {
        let [h, w] = self.out_hw();
        self.batch * self.out_channels * h * w
    }

    /// Length of the weight, `[out_channels][in_channels / groups][kernel height][kernel width]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * (self.in_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    /// Multiply-accumulates of one forward pass.
    pub fn macs(&self) -> usize {
        self.output_len() * (self.in_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn check(&self, weight: &[f32]) {
        let pairs = self.kernel.into_iter().chain(self.stride).chain(self.dilation);
        assert!(pairs.into_iter().all(|n| n > 0), "kernel, stride and dilation are at least 1: {self:?}");
        assert!(
            self.groups > 0
                && self.in_channels.is_multiple_of(self.groups)
                && self.out_channels.is_multiple_of(self.groups),
            "groups divide the channels: {self:?}"
        );
        assert_eq!(weight.len(), self.weight_len(), "weight length of {self:?}");
    }

    fn check_input(&self, x: &Channels) {
        let [height, width] = self.in_hw;
        assert_eq!(x.dims(), [self.batch, self.in_channels, height * width], "input of {self:?}");
    }

    /// The input, of one buffer.
    ///
    /// # Panics
    /// If it has not that many numbers.
    pub fn whole<'a>(&self, x: &'a [f32]) -> Channels<'a> {
        Channels::whole(x, [self.batch, self.in_channels, self.in_hw[0] * self.in_hw[1]])
    }

    /// Whether module `winograd` can run it, and is the faster way: there must be enough products to a square to pay for
    /// transforming it. Only in fp32: bf16 would lose accuracy in the transformations.
    pub fn suits_winograd(&self) -> bool {
        let plain = self.kernel == [3, 3] && self.stride == [1, 1] && self.dilation == [1, 1] && self.groups == 1;
        let exact = self.dtype == ComputeDtype::Fp32;
        plain
            && exact
            && self.padding.iter().all(|&p| p <= 2)
            && self.in_channels.min(self.out_channels) >= WINOGRAD_CHANNELS
    }

    /// The kernels of a weight.
    fn kernels<'a>(&self, w: &'a [f32]) -> Kernels<'a> {
        let taps = self.kernel[0] * self.kernel[1];
        let output = self.in_channels / self.groups * taps;
        Kernels { numbers: w, group: self.out_channels / self.groups * output, output, input: taps }
    }

    /// The kernel's taps in row-major order.
    fn taps(&self) -> Vec<Tap> {
        let [kh, kw] = self.kernel;
        let at = |k: usize, a: usize| (k * self.dilation[a]) as isize - self.padding[a] as isize;
        (0..kh).flat_map(|y| (0..kw).map(move |x| [at(y, 0), at(x, 1)])).collect()
    }
}

/// Channels from which on Winograd's way is the faster one (measured with `cargo bench --bench kernels`).
const WINOGRAD_CHANNELS: usize = 12;

/// What is applied to the sums of a forward convolution before they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// Adds a bias, one for each output channel.
    Bias(&'a [f32]),
    /// Adds a bias, then applies SiLU: a convolution with its batch normalisation folded in.
    BiasSilu(&'a [f32]),
}

/// Weights laid out for [`forward_packed`], for inference: that is worth keeping where images are few.
pub struct PackedWeight {
    form: Form<Packed, Box<Untransformed>>,
    /// The convolution they were packed for, without what they do not depend on.
    made_for: ConvShape,
}

/// How weights are laid out.
enum Form<T, W> {
    Taps(T),
    Winograd(W),
}

impl PackedWeight {
    /// Packs `w` for any batch, image size and padding.
    ///
    /// # Panics
    /// If the length of `w` is not what `s` says.
    pub fn new(s: &ConvShape, w: &[f32]) -> Self {
        s.check(w);
        let taps = s.kernel[0] * s.kernel[1];
        let form = if s.suits_winograd() {
            Form::Winograd(Box::new(Untransformed::new(w)))
        } else {
            Form::Taps(pack(&sizes(s), &(0..taps).collect::<Vec<_>>(), s.kernels(w)))
        };
        PackedWeight { form, made_for: Self::made_for(s) }
    }

    /// Whether they are for Winograd's way.
    pub fn is_winograd(&self) -> bool {
        matches!(self.form, Form::Winograd(_))
    }

    fn made_for(s: &ConvShape) -> ConvShape {
        ConvShape { batch: 0, in_hw: [0; 2], padding: [0; 2], ..*s }
    }
}

/// Overwrites `y` with the convolution of `x` and `w`.
///
/// # Panics
/// If a length is not what `s` says.
pub fn forward(s: &ConvShape, x: &Channels, w: &[f32], epilogue: Epilogue, y: &mut [f32]) {
    forward_packed(s, x, &PackedWeight::new(s, w), epilogue, y);
}

/// [`forward`] with weights packed before.
///
/// # Panics
/// If a length is not what `s` says, or the weights were packed for another convolution.
pub fn forward_packed(s: &ConvShape, x: &Channels, w: &PackedWeight, epilogue: Epilogue, y: &mut [f32]) {
    assert_eq!(w.made_for, PackedWeight::made_for(s), "weights packed for {s:?}");
    s.check_input(x);
    if s.output_len() == 0 || s.input_len() == 0 {
        return fill_empty(s, epilogue, y);
    }
    let finish = match epilogue {
        Epilogue::None => Finish::Set,
        Epilogue::Bias(b) => Finish::Bias(b),
        Epilogue::BiasSilu(b) => Finish::BiasSilu(b),
    };
    let sizes = sizes(s);
    match &w.form {
        Form::Winograd(kernels) => {
            let kernels = kernels.for_sizes(&sizes, |numbers| s.kernels(numbers));
            winograd::run(&sizes, s.in_hw, s.padding, kernels, x, finish, y);
        }
        Form::Taps(weights) => {
            let planes = Planes::new(s.in_hw, s.out_hw(), s.stride, &s.taps(), correlate::band(&sizes));
            let pass = Pass { offsets: planes.offsets.clone(), weights, hw: s.out_hw(), phase: [0, 0] };
            correlate::run(&sizes, [1, 1], &planes, &[pass], x, finish, y);
        }
    }
}

/// The gradient of the input: overwrites `dx`, or adds to it.
///
/// # Panics
/// If a slice's length is not what `s` says.
pub fn backward_data(s: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32], accumulate: bool) {
    backward_data_packed(s, dy, &PackedBackward::new(s, w), dx, accumulate);
}

/// Weights laid out for [`backward_data_packed`].
pub struct PackedBackward {
    /// Those of each phase, or of all.
    form: Form<Vec<Packed>, Transformed>,
    /// The convolution they were packed for, without the batch.
    made_for: ConvShape,
}

impl PackedBackward {
    /// Packs `w` for any batch.
    ///
    /// # Panics
    /// If the length of `w` is not what `s` says.
    pub fn new(s: &ConvShape, w: &[f32]) -> Self {
        s.check(w);
        let (sizes, kernels) = (backward_sizes(s), s.kernels(w));
        let kernels = Kernels { output: kernels.input, input: kernels.output, ..kernels };
        let phase = |phase: &Phase| pack(&sizes, &phase.taps.iter().map(|tap| tap.0).collect::<Vec<_>>(), kernels);
        let form = if s.suits_winograd() {
            Form::Winograd(Transformed::new(&sizes, Size::of(&sizes), true, kernels))
        } else {
            Form::Taps(phases(s).iter().map(phase).collect())
        };
        Self { form, made_for: ConvShape { batch: 0, ..*s } }
    }
}

/// [`backward_data`] with weights packed before.
///
/// # Panics
/// If a slice's length is not what `s` says, or the weights were packed for another convolution.
pub fn backward_data_packed(s: &ConvShape, dy: &[f32], w: &PackedBackward, dx: &mut [f32], accumulate: bool) {
    assert_eq!(w.made_for, ConvShape { batch: 0, ..*s }, "weights packed for {s:?}");
    assert_eq!(dx.len(), s.input_len(), "input gradient length of {s:?}");
    let phases = if s.output_len() == 0 { Vec::new() } else { phases(s) };
    // Positions that no output looks at.
    let some_unseen = phases.len() < s.stride[0].min(s.in_hw[0]) * s.stride[1].min(s.in_hw[1]);
    if !accumulate && some_unseen {
        dx.par_chunks_mut(1 << 14).for_each(|dx| dx.fill(0.0));
    }
    if s.output_len() == 0 || s.input_len() == 0 {
        return;
    }
    let sizes = backward_sizes(s);
    let dy = &Channels::whole(dy, [s.batch, s.out_channels, sizes.in_area]);
    let finish = if accumulate { Finish::Add } else { Finish::Set };
    let weights = match &w.form {
        Form::Winograd(kernels) => {
            return winograd::run(&sizes, s.out_hw(), s.padding.map(|p| 2 - p), kernels, dy, finish, dx);
        }
        Form::Taps(weights) => weights,
    };
    let largest = [0, 1].map(|a| s.in_hw[a].div_ceil(s.stride[a]));
    let all: Vec<Tap> = phases.iter().flat_map(|p| p.taps.iter().map(|t| t.1)).collect();
    let planes = Planes::new(s.out_hw(), largest, [1, 1], &all, correlate::band(&sizes));
    let mut offsets = planes.offsets.iter();
    let pass = |(phase, weights): (&Phase, _)| Pass {
        offsets: offsets.by_ref().take(phase.taps.len()).copied().collect(),
        weights,
        hw: phase.hw,
        phase: phase.phase,
    };
    let passes: Vec<Pass> = phases.iter().zip(weights).map(pass).collect();
    correlate::run(&sizes, s.stride, &planes, &passes, dy, finish, dx);
}

/// The gradient of the weight: overwrites `dw`.
///
/// # Panics
/// If a slice's length is not what `s` says.
pub fn backward_weight(s: &ConvShape, x: &Channels, dy: &[f32], dw: &mut [f32]) {
    s.check(dw);
    s.check_input(x);
    if s.output_len() == 0 || s.input_len() == 0 {
        return dw.fill(0.0);
    }
    let sizes = sizes(s);
    if s.suits_winograd() {
        return winograd_gradient::run(&sizes, s.in_hw, s.padding, x, dy, dw);
    }
    let planes = Planes::new(s.in_hw, s.out_hw(), s.stride, &s.taps(), weight_gradient::band(&sizes));
    weight_gradient::run(&sizes, &planes, x, dy, dw);
}

/// The gradient of the bias, the sum of `dy` over images and positions: overwrites `db`, one for each output channel.
///
/// # Panics
/// If a slice's length is not what `s` says.
pub fn backward_bias(s: &ConvShape, dy: &[f32], db: &mut [f32]) {
    assert_eq!(dy.len(), s.output_len(), "output gradient length of {s:?}");
    assert_eq!(db.len(), s.out_channels, "bias gradient length of {s:?}");
    let [h, w] = s.out_hw();
    db.par_iter_mut().enumerate().for_each(|(c, db)| {
        let planes = (0..s.batch).map(|n| &dy[(n * s.out_channels + c) * h * w..][..h * w]);
        *db = planes.map(norm::sum).sum::<f64>() as f32;
    });
}

/// The input positions with the same remainder by the stride, and the taps (with their offset into the output) that
/// reach them.
struct Phase {
    taps: Vec<(usize, Tap)>,
    hw: [usize; 2],
    phase: [usize; 2],
}

fn phases(s: &ConvShape) -> Vec<Phase> {
    // Input position p = s·q + phase takes part in output (p + padding − k·dilation) / s, where that divides.
    let reach = |a: usize, phase: usize, k: usize| {
        let at = (phase + s.padding[a]) as isize - (k * s.dilation[a]) as isize;
        let stride = s.stride[a] as isize;
        (at.rem_euclid(stride) == 0).then_some(at.div_euclid(stride))
    };
    let mut phases = Vec::new();
    for y in 0..s.stride[0].min(s.in_hw[0]) {
        for x in 0..s.stride[1].min(s.in_hw[1]) {
            let mut taps = Vec::new();
            for ky in 0..s.kernel[0] {
                for kx in 0..s.kernel[1] {
                    if let (Some(dy), Some(dx)) = (reach(0, y, ky), reach(1, x, kx)) {
                        taps.push((ky * s.kernel[1] + kx, [dy, dx]));
                    }
                }
            }
            let hw = [(s.in_hw[0] - y).div_ceil(s.stride[0]), (s.in_hw[1] - x).div_ceil(s.stride[1])];
            if !taps.is_empty() {
                phases.push(Phase { taps, hw, phase: [y, x] });
            }
        }
    }
    phases
}

pub(super) fn sizes(s: &ConvShape) -> Sizes {
    Sizes {
        dtype: s.dtype,
        batch: s.batch,
        groups: s.groups,
        in_channels: s.in_channels / s.groups,
        out_channels: s.out_channels / s.groups,
        in_area: s.in_hw[0] * s.in_hw[1],
        out_hw: s.out_hw(),
    }
}

/// Those of the data gradient: the channels have exchanged their roles.
fn backward_sizes(s: &ConvShape) -> Sizes {
    let forward = sizes(s);
    Sizes {
        in_channels: forward.out_channels,
        out_channels: forward.in_channels,
        in_area: forward.out_hw[0] * forward.out_hw[1],
        out_hw: s.in_hw,
        ..forward
    }
}

/// The outputs of a convolution that has nothing to sum.
fn fill_empty(s: &ConvShape, epilogue: Epilogue, y: &mut [f32]) {
    assert_eq!(y.len(), s.output_len(), "output length of {s:?}");
    let [h, w] = s.out_hw();
    if h * w == 0 {
        return;
    }
    for (i, y) in y.chunks_exact_mut(h * w).enumerate() {
        let c = i % s.out_channels;
        y.fill(match epilogue {
            Epilogue::None => 0.0,
            Epilogue::Bias(b) => b[c],
            Epilogue::BiasSilu(b) => b[c] / (1.0 + (-b[c]).exp()),
        });
    }
}
