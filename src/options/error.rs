//! What can be wrong with options.

use thiserror::Error;

use super::kind::{Kind, Value};
use crate::nearest::did_you_mean;

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionError {
    /// A key that there isn't.
    #[error("{} no option \"{key}\"{}; {} {}", if call.is_empty() { "there is".to_owned() } else { format!("{call} has") },
        did_you_mean(key, known.iter().copied()), if call.is_empty() { "there are" } else { "its options are" },
        known.join(", "))]
    Unknown {
        /// The call that was given it; empty where options were not given to a call.
        call: String,
        /// The key found.
        key: String,
        /// The keys there are.
        known: Vec<&'static str>,
    },
    /// A value of the wrong type, out of range, not among the choices, or one that doesn't go with something else.
    #[error("option \"{key}\"{} takes {expected}, not {found}", of(call))]
    Value {
        /// The call that was given it; empty where options were not given to a call.
        call: String,
        /// The key.
        key: String,
        /// What it takes.
        expected: String,
        /// What it got, with a suggestion where there is one.
        found: String,
    },
    /// An option that must be given.
    #[error("{} the option \"{key}\": {doc}", if call.is_empty() { "there must be".to_owned() } else { format!("{call} needs") })]
    Needed {
        /// The call that lacks it; empty where options were not given to a call.
        call: String,
        /// The key.
        key: String,
        /// What it does.
        doc: String,
    },
}

impl OptionError {
    /// A value that an option doesn't take, in words.
    pub fn value(key: &str, expected: impl Into<String>, found: impl std::fmt::Display) -> Self {
        Self::Value { call: String::new(), key: key.into(), expected: expected.into(), found: found.to_string() }
    }

    /// A value that is not of the kind that an option takes.
    pub fn refused(key: &str, kind: &Kind, value: &Value) -> Self {
        if let (Kind::OrOptions(_, specs), Value::Map(values)) = (kind, value) {
            // What is wrong is one of the options in the map.
            for (inner, value) in values {
                match specs.iter().find(|spec| spec.key == inner) {
                    Some(spec) if spec.kind.accepts(value) => {}
                    Some(spec) => return Self::refused(inner, &spec.kind, value).of(key),
                    None => return Self::unknown(inner, specs.iter().map(|spec| spec.key).collect()).of(key),
                }
            }
        }
        let meant = match value {
            Value::Text(word) => did_you_mean(word, kind.choices().iter().copied()),
            _ => String::new(),
        };
        Self::value(key, kind.to_string(), format!("{value}{meant}"))
    }

    /// A key that none of the options has, of which there are `known`.
    pub fn unknown(key: &str, known: Vec<&'static str>) -> Self {
        Self::Unknown { call: String::new(), key: key.into(), known }
    }

    /// The same, of options given to a call such as `Model.fit`, or given in an option's map.
    pub fn of(mut self, name: &str) -> Self {
        match &mut self {
            Self::Unknown { call, .. } | Self::Value { call, .. } | Self::Needed { call, .. } => {
                *call = if call.is_empty() { name.to_owned() } else { format!("{call} of {name}") };
            }
        }
        self
    }

    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key, .. } | Self::Value { key, .. } | Self::Needed { key, .. } => key,
        }
    }
}

fn of(call: &str) -> String {
    if call.is_empty() { String::new() } else { format!(" of {call}") }
}
