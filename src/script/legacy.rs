//! Options declared by hand, until the last calls have structs of their own.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::options::{Given, Kind, OptionSet, Spec};
use crate::options::{self, OptionValue, Value};

impl OptionSet {
    /// A real number with a default.
    pub fn float(self, key: &'static str, range: RangeInclusive<f64>, default: impl Into<f64>, doc: &str) -> Self {
        self.by_hand(key, options::Kind::Number(range), Some(Value::Number(default.into())), doc)
    }

    /// A whole number with a default.
    pub fn int(self, key: &'static str, range: RangeInclusive<i64>, default: impl TryInto<i64>, doc: &str) -> Self {
        self.by_hand(key, options::Kind::Int(range), default.try_into().ok().map(Value::Int), doc)
    }

    /// A yes or no with a default.
    pub fn flag(self, key: &'static str, default: bool, doc: &str) -> Self {
        self.by_hand(key, options::Kind::Flag, Some(Value::Flag(default)), doc)
    }

    /// A string with a default.
    pub fn text(self, key: &'static str, default: &str, doc: &str) -> Self {
        self.by_hand(key, options::Kind::Text, Some(Value::Text(default.into())), doc)
    }

    /// A choice with a default.
    pub fn one_of(self, key: &'static str, choices: &'static [&'static str], default: &str, doc: &str) -> Self {
        self.by_hand(key, options::Kind::Choice(choices), Some(Value::Text(default.into())), doc)
    }

    /// An option without a default.
    pub fn optional(self, key: &'static str, kind: options::Kind, doc: &str) -> Self {
        self.by_hand(key, kind, None, doc)
    }

    fn by_hand(mut self, key: &'static str, kind: options::Kind, default: Option<Value>, doc: &str) -> Self {
        self.specs.push(Spec { key, kind: Kind::Plain(kind), default, doc: doc.into() });
        self
    }
}

impl Given {
    /// What was given or is the default.
    pub fn read<T: OptionValue>(&self, key: &str) -> Option<T> {
        self.plain(key).and_then(|value| T::read(&value))
    }

    /// A number, or its default.
    pub fn float(&self, key: &str) -> f64 {
        self.read(key).expect("checked against the declaration")
    }

    /// A whole number, or its default.
    pub fn int(&self, key: &str) -> usize {
        self.read(key).expect("checked against the declaration")
    }

    /// A number that was given.
    pub fn given_float(&self, key: &str) -> Option<f64> {
        self.read(key)
    }

    /// A whole number that was given.
    pub fn given_int(&self, key: &str) -> Option<u64> {
        self.read(key)
    }

    /// A yes or no, or its default.
    pub fn flag(&self, key: &str) -> bool {
        self.read(key).expect("checked against the declaration")
    }

    /// A string, or its default.
    pub fn text(&self, key: &str) -> String {
        self.read(key).expect("checked against the declaration")
    }

    /// A string that was given.
    pub fn given_text(&self, key: &str) -> Option<String> {
        self.read(key)
    }

    /// A path that was given.
    pub fn given_path(&self, key: &str) -> Option<PathBuf> {
        self.read(key)
    }

    /// Strings, none when not given.
    pub fn texts(&self, key: &str) -> Vec<String> {
        self.read(key).unwrap_or_default()
    }
}
