//! A learned 1×1 convolution from the student's width to the teacher's, so that their features can be compared.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::exec::{
    Operands,
    kernels::{
        conv::{self, ConvShape, Epilogue, PackedWeight},
        scratch::{self, Scratch},
    },
};

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

    fn shape(&self, [height, width]: [usize; 2]) -> ConvShape {
        ConvShape {
            operands: Operands::Fp32,
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
        let widening = self.shape(size);
        let narrowing = ConvShape { in_channels: self.teacher, out_channels: self.student, ..widening };
        let mut transposed = vec![0.0; matrix.len()];
        for (of_student, numbers) in transposed.chunks_exact_mut(self.teacher).enumerate() {
            let column = matrix[of_student..].iter().step_by(self.student);
            numbers.iter_mut().zip(column).for_each(|(to, from)| *to = *from);
        }
        Prepared {
            widening,
            widen: PackedWeight::new(&widening, matrix),
            narrowing,
            narrow: PackedWeight::new(&narrowing, &transposed),
        }
    }
}

/// An adapter's matrix laid out for both ways, to run on many images.
pub(super) struct Prepared {
    widening: ConvShape,
    widen: PackedWeight,
    narrowing: ConvShape,
    narrow: PackedWeight,
}

impl Prepared {
    /// An image's features (student, h, w) at the teacher's width.
    pub(super) fn forward(&self, features: &[f32]) -> Scratch {
        let mut widened = scratch::take(self.widening.output_len());
        conv::forward_packed(&self.widening, features, &self.widen, Epilogue::None, &mut widened);
        widened
    }

    /// From the gradient of an image's widened features to that of the matrix, which it gives, and to that of the
    /// features.
    pub(super) fn backward(&self, features: &[f32], gradient: &[f32], of_features: &mut [f32]) -> Vec<f32> {
        conv::forward_packed(&self.narrowing, gradient, &self.narrow, Epilogue::None, of_features);
        let mut of_matrix = vec![0.0; self.widening.weight_len()];
        conv::backward_weight(&self.widening, features, gradient, &mut of_matrix);
        of_matrix
    }
}
