//! The list of distillation terms. Options, help, completion and checks are made from it.

use std::sync::Arc;

use super::{
    attention, channelwise,
    error::DistillError,
    options::{DistillOptions, Weights},
    outputs,
    pair::Pair,
};
use crate::{
    options::{Field, OptionValue, Options, Spec, Value},
    train::Term,
};

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
    pub(super) make: Make,
}

/// Makes a term, for a pair and a weight.
type Make = fn(&Pair<'_>, f32) -> Result<Arc<dyn Term>, DistillError>;

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

/// Each term's weight is an option of the term's name.
impl Field for Weights {
    type Limits = ();

    fn declare(&self, _: &'static str, _: &'static str, _: Option<()>, specs: &mut Vec<Spec>) {
        for term in TERMS {
            self.of(term.name).declare(term.name, term.doc, Some(0.0..=f32::MAX), specs);
        }
    }

    fn values(&self, values: &mut Vec<Option<Value>>) {
        values.extend(TERMS.iter().map(|term| self.of(term.name).value()));
    }

    fn assign(&mut self, _: &str, key: &str, value: &Value) -> bool {
        let weight = TERMS.iter().any(|term| term.name == key).then(|| f32::read(value)).flatten();
        weight.map(|weight| self.0.insert(key.into(), weight)).is_some()
    }
}

/// Checks that every weight is of a term, and the options' ranges.
pub(super) fn validate(options: &DistillOptions) -> Result<(), DistillError> {
    if let Some(name) = options.weights.0.keys().find(|name| TERMS.iter().all(|term| term.name != *name)) {
        let known = TERMS.iter().map(|term| term.name).collect::<Vec<_>>().join(", ");
        return Err(DistillError::NoSuchTerm { name: name.clone(), known });
    }
    Ok(options.check()?)
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
