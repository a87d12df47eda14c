//! Gradients of single images.

use candle_core::Tensor;

use super::{
    backend::Backend,
    error::ExecError,
    options::{NormStatistics, TrainOptions},
    tape::train_with,
    values::{Gradients, ValueGradients, Values},
};
use crate::model::Model;

/// Hands the gradients of every single image of a batch (n, channels, h, w) to `each`, with the image's index, as the
/// Fisher information needs them. `loss` gives the gradients of the loss of image `index` from what that image alone gave.
///
/// The images run one after another, so that no more is held than for one. Normalisations use running statistics, whatever
/// the options say: with those of a batch, images would not be independent.
///
/// # Errors
/// As [`train_with`] and [`Tape::backward`](super::Tape::backward), and those of `loss` and `each`.
pub fn image_gradients<E: From<ExecError>>(
    backend: Backend,
    model: &Model,
    images: &Tensor,
    options: &TrainOptions<'_>,
    mut loss: impl FnMut(usize, &Values) -> Result<ValueGradients, E>,
    mut each: impl FnMut(usize, Gradients) -> Result<(), E>,
) -> Result<(), E> {
    let options = TrainOptions { statistics: NormStatistics::Running, ..*options };
    let count = images.dims().first().copied().unwrap_or(0);
    for index in 0..count {
        let image = images.narrow(0, index, 1).map_err(ExecError::from)?;
        let tape = train_with(backend, model, &image, &options)?;
        let gradients = loss(index, &tape.values)?;
        each(index, tape.backward(&gradients)?)?;
    }
    Ok(())
}
