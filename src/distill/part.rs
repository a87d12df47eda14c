//! What the losses of distillation are called where a run tells its losses.

const PREFIX: &str = "distill_";

/// The loss of the term `term`.
pub(super) fn part_name(term: &str) -> String {
    format!("{PREFIX}{term}")
}

/// Whether a run's loss is one of distillation.
pub fn is_distilled(part: &str) -> bool {
    part.starts_with(PREFIX)
}
