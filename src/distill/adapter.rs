//! A learned 1×1 convolution from the student's width to the teacher's, so that their features can be compared.

use espalier_kernels::{
    conv::{self, ConvShape, Epilogue, PackedBackward, PackedWeight},
    scratch::{self, Scratch},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::exec::ComputeDtype;

/// A matrix (teacher's channels, student's channels) applied at every place.
pub(super) struct Adapter {
    pub(super) student: usize,
    pub(super) teacher: usize,
}

impl Adapter {
    /// A start for the matrix: random, of a scale that keeps the variance (He et al. 2015), the same for the same seed.
    pub(super) fn initial(&self, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let reach = (3.0 / self.student as f32).sqrt();
        (0..self.student * self.teacher).map(|_| random.random_range(-reach..reach)).collect()
    }

    /// The matrix's shape as a convolution's weight.
    pub(super) fn dims(&self) -> (usize, usize, usize, usize) {
        (self.teacher, self.student, 1, 1)
    }

    fn shape(&self, [height, width]: [usize; 2]) -> ConvShape {
        ConvShape {
            dtype: ComputeDtype::Fp32,
            batch: 1,
            in_channels: self.student,
            out_channels: self.teacher,
            in_hw: [height, width],
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }

    /// With its matrix, for features of one size.
    pub(super) fn prepare(&self, size: [usize; 2], matrix: &[f32]) -> Prepared {
        let shape = self.shape(size);
        Prepared { shape, widen: PackedWeight::new(&shape, matrix), narrow: PackedBackward::new(&shape, matrix) }
    }
}

/// An adapter's matrix laid out for forward and backward, to run on many images.
pub(super) struct Prepared {
    /// Of one image.
    shape: ConvShape,
    widen: PackedWeight,
    narrow: PackedBackward,
}

impl Prepared {
    fn shape(&self, features: &[f32]) -> ConvShape {
        ConvShape { batch: features.len() / self.shape.input_len(), ..self.shape }
    }

    /// Some images' features (n, student, h, w) at the teacher's width.
    pub(super) fn forward(&self, features: &[f32]) -> Scratch {
        let shape = self.shape(features);
        let mut widened = scratch::take(shape.output_len());
        conv::forward_packed(&shape, features, &self.widen, Epilogue::None, &mut widened);
        widened
    }

    /// From the gradient of widened features to that of the matrix, which it gives, and to that of the features.
    pub(super) fn backward(&self, features: &[f32], gradient: &[f32], of_features: &mut [f32]) -> Vec<f32> {
        let shape = self.shape(features);
        conv::backward_data_packed(&shape, gradient, &self.narrow, of_features, false);
        let mut of_matrix = vec![0.0; shape.weight_len()];
        conv::backward_weight(&shape, features, gradient, &mut of_matrix);
        of_matrix
    }
}
