//! The list of distillation terms. Options, help, completion and checks are made from it.

use super::{
    super::{
        error::DistillError,
        expression::Expression,
        options::{DistillOptions, Given, Labels, Terms, WEIGHT, decimal},
        recipe::Recipe,
        timing::Timing,
    },
    attention::Attention,
    box_iou::BoxIou,
    boxes::Boxes,
    channelwise::ChannelWise,
    crosskd::CrossHead,
    fgd::Focal,
    hint::Hint,
    logits::Logits,
    mgd::Generated,
    own::Own,
    pkd::Pkd,
    quality::Quality,
    rkd::Relations,
    score_l2::ScoreL2,
    sp::Similarity,
};
use crate::options::{Field, Kind, OptionError, Options, Spec, Value};

/// A loss between teacher and student.
pub struct TermInfo {
    /// Its option, which is its weight or a map; `distill_` and the name is its column in `results.csv`.
    pub name: &'static str,
    /// Whether it counts where it is not named.
    pub usual: bool,
    /// What it does, in a line.
    pub doc: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    specs: fn() -> Vec<Spec>,
    read: fn(&Given) -> Result<Made, OptionError>,
}

/// What is read from a term's options.
pub(in super::super) struct Made {
    pub recipe: Box<dyn Recipe>,
    pub timing: Timing,
    /// Every option and its value.
    pub entries: Vec<(&'static str, Option<Value>)>,
}

/// Every term that there is, a line each.
#[rustfmt::skip]
pub static TERMS: &[TermInfo] = &[
    TermInfo { usual: true, ..TermInfo::new::<Logits>("logits", "objectness and class scores, softened by temperature", "Hinton et al. 2015, arXiv:1503.02531; Mehta and Ozturk 2018, arXiv:1805.06361") },
    TermInfo::new::<Quality>("quality", "objectness and class scores, the more the further they are apart", "Yang et al. 2023, arXiv:2308.14286"),
    TermInfo { usual: true, ..TermInfo::new::<Boxes>("boxes", "boxes where the teacher sees an object", "Mehta and Ozturk 2018, arXiv:1805.06361; Zheng et al. 2022, arXiv:2102.12252") },
    TermInfo::new::<BoxIou>("box_iou", "overlap of the decoded boxes where the teacher is sure; the heads may be of other families", "Yang et al. 2023, arXiv:2308.14286"),
    TermInfo::new::<Hint>("hint", "features themselves", "Romero et al. 2015, arXiv:1412.6550"),
    TermInfo::new::<ScoreL2>("score_l2", "features where the teacher scores high", "Ultralytics 2026, YOLO26"),
    TermInfo { usual: true, ..TermInfo::new::<ChannelWise>("cwd", "where each channel of the features looks, softened by cwd_temperature", "Shu et al. 2021, arXiv:2011.13256") },
    TermInfo::new::<Pkd>("pkd", "features whose channels are normalised", "Cao et al. 2022, arXiv:2207.02039"),
    TermInfo::new::<Attention>("at", "attention transfer: where the features are large, all channels together", "Zagoruyko and Komodakis 2017, arXiv:1612.03928"),
    TermInfo::new::<Generated>("mgd", "the teacher's features, generated from the student's masked ones", "Yang et al. 2022, arXiv:2205.01529"),
    TermInfo::new::<Focal>("fgd", "features in and outside of labelled boxes by attention, and the relations of places", "Yang et al. 2022, arXiv:2111.11837"),
    TermInfo::new::<Relations>("rkd", "distances and angles between the images of a batch", "Park et al. 2019, arXiv:1904.05068"),
    TermInfo::new::<Similarity>("sp", "which images of a batch are alike", "Tung and Mori 2019, arXiv:1907.09682"),
    TermInfo::new::<CrossHead>("crosskd", "the student's features through the teacher's head, against the teacher's outputs", "Wang et al. 2024, arXiv:2306.11369"),
    TermInfo::new::<Own>("loss", "a function of your own of the features of both", "yours"),
];

impl TermInfo {
    const fn new<R: Recipe + Options + 'static>(name: &'static str, doc: &'static str, paper: &'static str) -> Self {
        Self { name, usual: false, doc, paper, specs: specs::<R>, read: read::<R> }
    }

    /// What it takes in a map: its weight, when it acts, and what is its own.
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs = Vec::new();
        1.0f32.declare(WEIGHT, "how much it counts", Some(0.0..=f32::MAX), &mut specs);
        specs.extend((self.specs)());
        specs
    }

    /// What the distiller's own options give a term that is not given an option itself.
    pub(in super::super) fn inherited(&self, key: &str, options: &DistillOptions) -> Option<Value> {
        let own = if self.name == "cwd" { options.cwd_temperature } else { options.temperature };
        (key == "temperature").then(|| Value::Number(decimal(own)))
    }

    /// Its weight where it is not named.
    fn unnamed(&self) -> f32 {
        if self.usual { 1.0 } else { 0.0 }
    }

    fn kind(&self) -> Kind {
        Kind::OrOptions(Box::new(Kind::Number(0.0..=f32::MAX.into())), self.specs())
    }

    /// What is made of a term's options.
    ///
    /// # Errors
    /// An option that it does not have or take.
    pub(in super::super) fn read(&self, given: &Given) -> Result<Made, OptionError> {
        let read = || {
            self.check(given)?;
            (self.read)(given)
        };
        read().map_err(|error| error.of(self.name))
    }

    fn check(&self, given: &Given) -> Result<(), OptionError> {
        let specs = self.specs();
        let weight = [(WEIGHT, &Value::Number(given.weight.into()))];
        for (key, value) in weight.into_iter().chain(given.options.iter().map(|(key, value)| (key.as_str(), value))) {
            let spec = specs.iter().find(|spec| spec.key == key);
            spec.ok_or_else(|| OptionError::unknown(key, specs.iter().map(|spec| spec.key).collect()))?.check(value)?;
        }
        Ok(())
    }
}

fn specs<R: Recipe + Options>() -> Vec<Spec> {
    [Timing::specs(), R::specs()].concat()
}

fn read<R: Recipe + Options + 'static>(given: &Given) -> Result<Made, OptionError> {
    let (mut timing, mut recipe) = (Timing::default(), R::default());
    let timed: Vec<&str> = Timing::specs().iter().map(|spec| spec.key).collect();
    for (key, value) in &given.options {
        match timed.contains(&key.as_str()) {
            true => timing.set(key, value)?,
            false => recipe.set(key, value)?,
        }
    }
    timing.check_order()?;
    let entries = [timing.entries(), recipe.entries()].concat();
    Ok(Made { recipe: Box::new(recipe), timing, entries })
}

/// The terms whose weight is above 0, in the order of the list, as they are made.
///
/// # Errors
/// As [`validate`], and where there is neither a term nor a label of the teacher.
pub(in super::super) fn wanted(options: &DistillOptions) -> Result<Vec<(&'static TermInfo, f32, Made)>, DistillError> {
    validate(options)?;
    let given =
        |info: &'static TermInfo| Some((info, options.terms.0.get(info.name).filter(|given| given.weight > 0.0)?));
    let made = |(info, given): (&'static TermInfo, &Given)| Ok((info, given.weight, info.read(given)?));
    let wanted = TERMS.iter().filter_map(given).map(made).collect::<Result<Vec<_>, DistillError>>()?;
    match wanted.is_empty() && options.labels == Labels::Given {
        true => Err(DistillError::NoTerms { known: known() }),
        false => Ok(wanted),
    }
}

impl DistillOptions {
    /// All that decides a distillation, `key value` each: terms that count, then the rest.
    pub fn shown(&self) -> Vec<String> {
        let idle = |key: &str| TERMS.iter().any(|term| term.name == key) && self.terms.of(key) == 0.0;
        let unused = |key: &str| idle(key) || (key == "label_conf" && self.labels == Labels::Given);
        let entries = self.entries().into_iter().filter(|(key, _)| !unused(key));
        entries.filter_map(|(key, value)| Some(format!("{key} {}", legible(value?)))).collect()
    }
}

/// A term's value with a recorded loss as it would be written.
fn legible(value: Value) -> Value {
    let Value::Map(mut options) = value else { return value };
    if let Some(Value::Text(text)) = options.get_mut("expression")
        && let Ok(expression) = serde_json::from_str::<Expression>(text)
    {
        *text = expression.to_string();
    }
    Value::Map(options)
}

impl Default for Terms {
    fn default() -> Self {
        let usual = TERMS.iter().filter(|term| term.usual);
        usual.fold(Self::none(), |terms, term| terms.with(term.name, 1.0))
    }
}

/// Each term is an option of its name: a weight, or a map.
impl Field for Terms {
    type Limits = ();

    fn declare(&self, _: &'static str, _: &'static str, _: Option<()>, specs: &mut Vec<Spec>) {
        for term in TERMS {
            let default = Some(Value::Number(decimal(term.unnamed())));
            specs.push(Spec { key: term.name, kind: term.kind(), default, doc: term.doc.into() });
        }
    }

    fn values(&self, values: &mut Vec<Option<Value>>) {
        let value = |term: &TermInfo| self.0.get(term.name).map_or(Value::Number(0.0), Given::value);
        values.extend(TERMS.iter().map(|term| Some(value(term))));
    }

    fn assign(&mut self, _: &str, key: &str, value: &Value) -> bool {
        let given = TERMS.iter().any(|term| term.name == key).then(|| Given::read(value)).flatten();
        given.map(|given| self.0.insert(key.into(), given)).is_some()
    }
}

/// The names of all terms.
fn known() -> String {
    TERMS.iter().map(|term| term.name).collect::<Vec<_>>().join(", ")
}

/// Checks that every weight is of a term, and the options' ranges.
fn validate(options: &DistillOptions) -> Result<(), DistillError> {
    if let Some(name) = options.terms.0.keys().find(|name| TERMS.iter().all(|term| term.name != *name)) {
        return Err(DistillError::NoSuchTerm { name: name.clone(), known: known() });
    }
    Ok(options.check()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_a_line_for_each() {
        let readme = include_str!("../../../README.md");
        for term in TERMS {
            let TermInfo { name, doc, paper, .. } = term;
            let line = format!("| `{name}` | {} | {doc} ({paper}) |", term.unnamed());
            assert!(readme.contains(&line), "the README lacks: {line}");
        }
    }
}
