//! Classes of two detectors that have the same name.

use crate::model::Detector;

/// For each of `wanted`'s classes, that of `known`'s of the same name.
pub(super) fn match_classes(known: &Detector, wanted: &Detector) -> Vec<Option<usize>> {
    let of_known = |class: &String| known.classes.iter().position(|other| other == class);
    wanted.classes.iter().map(of_known).collect()
}
