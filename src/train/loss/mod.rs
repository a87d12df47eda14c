//! Detection losses: raw head outputs and targets give a loss and its gradient with respect to the outputs.
//!
//! The gradients are derived by hand and computed on flat slices, an image a thread, always on the CPU, where they stay:
//! outputs of another device are copied over, so that one tested path serves all devices.

mod anchors;
mod assigner;
mod ciou;
mod detection;
mod distribution;
mod error;
mod gains;
mod maps;
mod mean;
mod pull;
mod value;

pub use anchors::objectness_balance;
pub use detection::DetectionLoss;
pub use error::LossError;
pub use gains::Gains;
pub use mean::mean_loss;
pub use pull::loss_gradients;
pub use value::Loss;

#[cfg(test)]
mod tests;
