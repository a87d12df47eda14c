//! A learned 1×1 convolution from the student's width to the teacher's, so that their features can be compared.

use espalier_kernels::{
    conv::{self, ConvShape, Epilogue, PackedBackward, PackedWeight},
    scratch::{self, Scratch},
};

use super::convolve;

/// A matrix (teacher's channels, student's channels) applied at every place.
pub(super) struct Adapter {
    pub(super) student: usize,
    pub(super) teacher: usize,
}

impl Adapter {
    /// The matrix's shape as a convolution's weight.
    pub(super) fn dims(&self) -> (usize, usize, usize, usize) {
        (self.teacher, self.student, 1, 1)
    }

    /// With its matrix, for features of one size.
    pub(super) fn prepare(&self, size: [usize; 2], matrix: &[f32]) -> Prepared {
        let shape = convolve::shape(1, [self.student, self.teacher], size, 1);
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
        conv::forward_packed(&shape, &shape.whole(features), &self.widen, Epilogue::None, &mut widened);
        widened
    }

    /// From the gradient of widened features to that of the matrix, which it gives, and to that of the features.
    pub(super) fn backward(&self, features: &[f32], gradient: &[f32], of_features: &mut [f32]) -> Vec<f32> {
        let shape = self.shape(features);
        conv::backward_data_packed(&shape, gradient, &self.narrow, of_features, false);
        let mut of_matrix = vec![0.0; shape.weight_len()];
        conv::backward_weight(&shape, &shape.whole(features), gradient, &mut of_matrix);
        of_matrix
    }
}
