//! The list of distillation terms. Options, help, completion and checks are made from it.

use std::sync::Arc;

use super::{attention, channelwise, error::DistillError, options::Weights, outputs, pair::Pair};
use crate::train::Term;

/// A loss between teacher and student.
pub struct TermInfo {
    /// Its option, which is its weight; `distill_` and the name is its column in `results.csv`.
    pub name: &'static str,
    /// Its weight where none is given; 0 leaves a term out.
    pub weight: f32,
    /// What of teacher and student it compares.
    pub compares: Compares,
    /// What it does, in a line.
    pub doc: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Makes it, for a pair and a weight above 0.
    pub(super) make: fn(&Pair<'_>, f32) -> Result<Arc<dyn Term>, DistillError>,
}

/// What a term compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compares {
    /// The outputs of the heads.
    Outputs,
    /// The features that the necks hand to the heads, a level each.
    Features,
}

/// Every term that there is, a line each.
#[rustfmt::skip]
pub static TERMS: &[TermInfo] = &[
    TermInfo { name: "logits", weight: 0.3, compares: Compares::Outputs, make: outputs::scores, doc: "objectness and class scores, softened by temperature", paper: "Hinton et al. 2015, arXiv:1503.02531; Mehta and Ozturk 2018, arXiv:1805.06361" },
    TermInfo { name: "boxes", weight: 0.5, compares: Compares::Outputs, make: outputs::boxes, doc: "boxes where the teacher sees an object", paper: "Mehta and Ozturk 2018, arXiv:1805.06361; Zheng et al. 2022, arXiv:2102.12252" },
    TermInfo { name: "cwd", weight: 0.03, compares: Compares::Features, make: channelwise::term, doc: "where each channel of the neck's features looks, softened by cwd_temperature", paper: "Shu et al. 2021, arXiv:2011.13256" },
    TermInfo { name: "at", weight: 0.0, compares: Compares::Features, make: attention::term, doc: "attention transfer: where the neck's features are large, all channels together", paper: "Zagoruyko and Komodakis 2017, arXiv:1612.03928" },
];

impl Default for Weights {
    fn default() -> Self {
        Self(TERMS.iter().map(|term| (term.name.to_owned(), term.weight)).collect())
    }
}

/// Checks that every weight is of a term and in its range.
pub(super) fn validate(weights: &Weights) -> Result<(), DistillError> {
    for (name, &value) in &weights.0 {
        let Some(term) = TERMS.iter().find(|term| term.name == name) else {
            let known = TERMS.iter().map(|term| term.name).collect::<Vec<_>>().join(", ");
            return Err(DistillError::NoSuchTerm { name: name.clone(), known });
        };
        if !(value.is_finite() && value >= 0.0) {
            return Err(DistillError::Option { name: term.name, value, expected: "a number of at least 0" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_a_line_for_each() {
        let readme = include_str!("../../README.md");
        for TermInfo { name, weight, doc, paper, .. } in TERMS {
            let line = format!("| `{name}` | {weight} | {doc} ({paper}) |");
            assert!(readme.contains(&line), "the README lacks: {line}");
        }
    }
}
