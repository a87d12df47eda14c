//! What a loss gives.

use candle_core::Tensor;

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The sum of the weighted parts times the batch, as the YOLO trainers minimise it.
    pub total: f32,
    /// The weighted parts, by the names that `results.csv` has.
    pub parts: Vec<(&'static str, f32)>,
    /// The gradient of `total` with respect to each output, of the output's shape, on the CPU.
    pub gradients: Vec<Tensor>,
}
