//! Kernels as Winograd's way needs them: transformed, for squares of one size or the other.

use super::lanes::WIDEST;
use super::pack::{self, Kernels, Panel};
use super::scratch::{self, Scratch};
use super::simd;
use super::sizes::Sizes;
use super::squares::{Four, Square, Two};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// How many outputs a square has along a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Two,
    Four,
}

impl Size {
    /// The faster one for a correlation, as measured: the larger squares need channels enough to pay for transforming them, tiles
    /// that they fill, and not too much beyond the border.
    pub(super) fn of(sizes: &Sizes) -> Self {
        let squares = |outputs: usize| sizes.out_hw.map(|side| side.div_ceil(outputs)).iter().product::<usize>();
        let (few, many) = (36 * squares(4), 16 * squares(2));
        let channels = sizes.in_channels.min(sizes.out_channels);
        let filled = squares(4) >= 64 || channels >= 64 && sizes.batch * squares(4) >= 64;
        if channels >= 32 && filled && 10 * few <= 7 * many { Size::Four } else { Size::Two }
    }
}

/// Kernels G·g·Gᵀ in the order in which tiles read them: for each panel of output channels `[element][in_channel][row]`.
pub(super) struct Transformed {
    pub data: Scratch,
    pub panels: Vec<Panel>,
    pub size: Size,
}

impl Transformed {
    /// Transforms kernels of 9 taps in row-major order, or in reverse where `turned` (by half a turn, as the data
    /// gradient needs them).
    pub(super) fn new(sizes: &Sizes, size: Size, turned: bool, kernels: Kernels) -> Self {
        match size {
            Size::Two => Self::of_size::<Two, 2, 4>(sizes, size, turned, kernels),
            Size::Four => Self::of_size::<Four, 4, 6>(sizes, size, turned, kernels),
        }
    }

    fn of_size<T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize>(
        sizes: &Sizes,
        size: Size,
        turned: bool,
        kernels: Kernels,
    ) -> Self {
        let (inputs, depth) = (sizes.in_channels, SIDE * SIDE * sizes.in_channels);
        let panels = pack::panels(sizes.out_channels, depth);
        let mut data = scratch::take(sizes.out_channels * depth);
        pack::fill(&panels, &mut data, |panel, to| {
            simd::dispatch(TransformKernels { panel, inputs, turned, kernels, to, square: PhantomData::<T> });
        });
        Self { data, panels, size }
    }
}

/// Transforms the kernels of a panel.
struct TransformKernels<'a, T, const OUT: usize, const SIDE: usize> {
    panel: &'a Panel,
    inputs: usize,
    turned: bool,
    kernels: Kernels<'a>,
    to: &'a mut [f32],
    square: PhantomData<T>,
}

impl<T: Square<OUT, SIDE>, const OUT: usize, const SIDE: usize> WithSimd for TransformKernels<'_, T, OUT, SIDE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { panel, inputs, turned, kernels, to, square: _ } = self;
        // Lanes run along output channels.
        for first in (0..panel.rows).step_by(S::F32_LANES) {
            let count = S::F32_LANES.min(panel.rows - first);
            for input in 0..inputs {
                let mut taps = [[0.0; WIDEST]; 9];
                for row in 0..count {
                    let kernel = &kernels.numbers[kernels.start(0, panel.first + first + row, input)..][..9];
                    for tap in 0..9 {
                        taps[tap][row] = kernel[if turned { 8 - tap } else { tap }];
                    }
                }
                let mut columns = [[s.splat_f32s(0.0); SIDE]; 3];
                for x in 0..3 {
                    let mut column = [s.splat_f32s(0.0); 3];
                    for y in 0..3 {
                        column[y] = s.partial_load_f32s(&taps[3 * y + x][..count]);
                    }
                    columns[x] = T::kernel(s, column);
                }
                for y in 0..SIDE {
                    let line = T::kernel(s, [columns[0][y], columns[1][y], columns[2][y]]);
                    for x in 0..SIDE {
                        let at = ((SIDE * y + x) * inputs + input) * panel.rows + first;
                        s.partial_store_f32s(&mut to[at..at + count], line[x]);
                    }
                }
            }
        }
    }
}

/// Kernels that are transformed for squares of a size when images come for which that is the right one.
pub(super) struct Untransformed {
    numbers: Vec<f32>,
    two: OnceLock<Transformed>,
    four: OnceLock<Transformed>,
}

impl Untransformed {
    pub(super) fn new(weight: &[f32]) -> Self {
        Self { numbers: weight.to_vec(), two: OnceLock::new(), four: OnceLock::new() }
    }

    /// Those for images of these sizes; `kernels` says where they lie.
    pub(super) fn for_sizes<'a>(
        &'a self,
        sizes: &Sizes,
        kernels: impl Fn(&'a [f32]) -> Kernels<'a>,
    ) -> &'a Transformed {
        let size = Size::of(sizes);
        let kept = match size {
            Size::Two => &self.two,
            Size::Four => &self.four,
        };
        kept.get_or_init(|| Transformed::new(sizes, size, false, kernels(&self.numbers)))
    }
}
