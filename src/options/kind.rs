//! Values of options, and which of them an option takes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The value of an option, as a script or a file gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Values by pattern.
    Map(BTreeMap<String, Value>),
}

/// What values an option takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number in a range.
    Int(RangeInclusive<i64>),
    /// A number in a range; whole numbers are accepted.
    Number(RangeInclusive<f64>),
    /// A text.
    Text,
    /// A whole number in a range, or one of these texts.
    IntOr(RangeInclusive<i64>, &'static [&'static str]),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Texts, or a single one; where there are choices, some of these.
    Texts(&'static [&'static str]),
    /// Numbers in a range, at least one, or a single one.
    Numbers(RangeInclusive<f64>),
    /// Whole numbers in a range, at least one, or a single one.
    Ints(RangeInclusive<i64>),
    /// Values of a kind by pattern of layers' names.
    Map(Box<Kind>),
    /// A value of a kind, or several by pattern of layers' names.
    OrMap(Box<Kind>),
    /// A value of a kind, or a map of options.
    OrOptions(Box<Kind>, Vec<Spec>),
}

/// One option.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its key.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value when it isn't given, if there is one.
    pub default: Option<Value>,
    /// What it does.
    pub doc: String,
}

/// As it would be written in a script.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", numbers.join(", "))
            }
            Self::Map(values) => {
                let entries: Vec<String> = values.iter().map(|(key, value)| format!("{key:?}: {value}")).collect();
                write!(f, "#{{ {} }}", entries.join(", "))
            }
        }
    }
}

impl Kind {
    /// Whether a value is one of those it takes.
    pub fn accepts(&self, value: &Value) -> bool {
        let known = |choices: &[&str], word: &str| choices.is_empty() || choices.contains(&word);
        match (self, value) {
            (Self::Flag, Value::Flag(_)) | (Self::Text, Value::Text(_)) => true,
            (Self::Int(range), Value::Int(number)) => range.contains(number),
            (Self::Number(range), Value::Int(number)) => range.contains(&(*number as f64)),
            (Self::Number(range), Value::Number(number)) => range.contains(number),
            (Self::IntOr(range, _), Value::Int(number)) => range.contains(number),
            (Self::Choice(choices) | Self::IntOr(_, choices), Value::Text(word)) => choices.contains(&word.as_str()),
            (Self::Texts(choices), Value::Text(word)) => known(choices, word),
            (Self::Texts(choices), Value::Texts(words)) => words.iter().all(|word| known(choices, word)),
            (Self::Numbers(range), Value::Numbers(numbers)) => {
                !numbers.is_empty() && numbers.iter().all(|number| range.contains(number))
            }
            (Self::Numbers(range), _) => Self::Number(range.clone()).accepts(value),
            (Self::Ints(range), Value::Numbers(numbers)) => {
                let fits = |number: &f64| whole(*number).is_some_and(|number| range.contains(&number));
                !numbers.is_empty() && numbers.iter().all(fits)
            }
            (Self::Ints(range), _) => Self::Int(range.clone()).accepts(value),
            (Self::Map(kind) | Self::OrMap(kind), Value::Map(values)) => {
                values.values().all(|value| kind.accepts(value))
            }
            (Self::OrOptions(_, specs), Value::Map(values)) => {
                values.iter().all(|(key, value)| specs.iter().any(|spec| spec.key == key && spec.kind.accepts(value)))
            }
            (Self::OrMap(kind) | Self::OrOptions(kind, _), value) => kind.accepts(value),
            _ => false,
        }
    }

    /// The texts that it takes, where only some are.
    pub fn choices(&self) -> &'static [&'static str] {
        match self {
            Self::Choice(choices) | Self::Texts(choices) | Self::IntOr(_, choices) => choices,
            Self::Map(kind) | Self::OrMap(kind) | Self::OrOptions(kind, _) => kind.choices(),
            Self::Flag | Self::Int(_) | Self::Number(_) | Self::Text | Self::Numbers(_) | Self::Ints(_) => &[],
        }
    }
}

/// The whole number that it is, if it is one that no rounding has touched.
pub(super) fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// From here on not every whole number has its own float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The values it takes, in words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |choices: &[&str]| choices.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>();
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Int(range) if *range.end() == i64::MAX => write!(f, "a whole number from {} up", range.start()),
            Self::Int(range) => write!(f, "a whole number from {} to {}", range.start(), range.end()),
            Self::Number(range) if *range.end() >= f64::from(f32::MAX) => {
                write!(f, "a number from {} up", range.start())
            }
            Self::Number(range) => write!(f, "a number from {} to {}", range.start(), range.end()),
            Self::Text => f.write_str("a string"),
            Self::IntOr(range, choices) => write!(f, "{} or {}", Self::Int(range.clone()), quoted(choices).join(" | ")),
            Self::Choice(choices) => f.write_str(&quoted(choices).join(" | ")),
            Self::Texts([]) => f.write_str("a string or an array of strings"),
            Self::Texts(choices) => write!(f, "an array of some of {}", quoted(choices).join(", ")),
            Self::Numbers(range) => write!(f, "{} or an array of such", Self::Number(range.clone())),
            Self::Ints(range) => write!(f, "{} or an array of such", Self::Int(range.clone())),
            Self::Map(kind) => write!(f, "a map from patterns of layers to {kind}"),
            Self::OrMap(kind) => write!(f, "{kind}, or a map from patterns of layers to such"),
            Self::OrOptions(kind, specs) => {
                let keys: Vec<&str> = specs.iter().map(|spec| spec.key).collect();
                write!(f, "{kind}, or a map of {}", keys.join(", "))
            }
        }
    }
}
