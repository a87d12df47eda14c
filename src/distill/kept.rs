//! Which channels of its teacher a pruned student has.

use super::{error::DistillError, features::FeaturePair, pair::Pair, recipe::AdapterKind};
use crate::{model::Model, prune::kept_channels};

/// Of each level, the teacher's channels that the student's are compared with; none where an adapter brings the student's to
/// all of them.
///
/// # Errors
/// Where channels that were kept are asked for, and they are not known.
pub(super) fn compared_channels(
    kind: AdapterKind,
    pair: &Pair<'_>,
    levels: &[FeaturePair],
) -> Result<Vec<Option<Vec<u32>>>, DistillError> {
    let adapted = || vec![None; levels.len()];
    let kept = || levels.iter().map(|level| kept(pair.original, pair.student, level).map(Some)).collect();
    match kind {
        AdapterKind::Kept => kept(),
        // Another network's student has kept nothing.
        AdapterKind::Auto => Ok(kept().unwrap_or_else(|_: DistillError| adapted())),
        AdapterKind::Linear | AdapterKind::Conv => Ok(adapted()),
    }
}

/// For each of the student's channels of a pair of features, which of the teacher's it was before the student was pruned.
///
/// # Errors
/// Where the student was not pruned from the teacher (or a model of its widths), or the pair is not of one layer.
fn kept(teacher: &Model, student: &Model, level: &FeaturePair) -> Result<Vec<u32>, DistillError> {
    let foreign = |reason: String| {
        let layer = student.graph().node(level.student).name.clone();
        DistillError::NotPruned { layer, reason }
    };
    if teacher.graph().node(level.teacher).name != student.graph().node(level.student).name {
        let other = &teacher.graph().node(level.teacher).name;
        return Err(foreign(format!("it is compared with `{other}` of the teacher")));
    }
    let all = kept_channels(student, teacher.graph()).map_err(|error| foreign(error.to_string()))?;
    Ok(all[level.student].iter().map(|&channel| channel as u32).collect())
}
