//! What options have in common: their ranges.

use std::ops::RangeInclusive;

use super::EvalError;
use crate::model::Model;

/// An error unless `found` lies in the range.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    option: &'static str,
    found: T,
    range: RangeInclusive<T>,
) -> Result<(), EvalError> {
    if range.contains(&found) {
        return Ok(());
    }
    let expected = format!("a number from {} to {}", range.start(), range.end());
    Err(EvalError::Option { option, found: found.to_string(), expected })
}

/// An error unless the model can run on square images of that many pixels.
pub(super) fn check_size(model: &Model, size: usize) -> Result<(), EvalError> {
    within("size", size, 1..=8192)?;
    let stride = model.max_stride();
    if size.is_multiple_of(stride) {
        return Ok(());
    }
    let below = size / stride * stride;
    let near = if below == 0 { stride.to_string() } else { format!("{below} or {}", below + stride) };
    let expected = format!("a multiple of the model's largest stride, {stride}, such as {near}");
    Err(EvalError::Option { option: "size", found: size.to_string(), expected })
}
