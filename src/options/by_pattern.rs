//! Options whose value differs from layer to layer.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::kind::{Kind, Value};
use super::value::OptionValue;

/// The pattern that fits every layer.
const EVERY: &str = "*";

/// Values by pattern of layers' names. Which of several that fit a layer counts is for the reader to say.
///
/// ```
/// use espalier::options::ByPattern;
///
/// let ratios = ByPattern::from([("model.4", 0.3), ("model.6.*.cv1", 0.5)]);
/// assert_eq!(ratios.iter().count(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByPattern<T>(BTreeMap<String, T>);

/// One value for every layer, or values by pattern of their names.
///
/// ```
/// use espalier::options::PerLayer;
///
/// assert_eq!(PerLayer::from(0.5), PerLayer::from([("*", 0.5)]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Given<T>", into = "Given<T>")]
#[serde(bound(serialize = "T: Clone + Serialize"))]
pub struct PerLayer<T>(ByPattern<T>);

/// The form that files have.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Given<T> {
    Every(T),
    Patterns(ByPattern<T>),
}

impl<T> ByPattern<T> {
    /// Each pattern with its value, in the order of the patterns' texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(pattern, value)| (pattern.as_str(), value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> PerLayer<T> {
    /// The values by pattern; that for every layer is that of `*`.
    pub fn patterns(&self) -> &ByPattern<T> {
        &self.0
    }

    /// The value for every layer that no other pattern fits, if one was given.
    pub fn every(&self) -> Option<&T> {
        self.0.0.get(EVERY)
    }

    /// The value, where there is one for every layer and no other.
    fn single(&self) -> Option<&T> {
        self.every().filter(|_| self.0.0.len() == 1)
    }
}

impl<T> Default for ByPattern<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> From<T> for PerLayer<T> {
    fn from(value: T) -> Self {
        Self::from([(EVERY, value)])
    }
}

impl<T, const N: usize> From<[(&str, T); N]> for PerLayer<T> {
    fn from(patterns: [(&str, T); N]) -> Self {
        Self(patterns.into())
    }
}

impl<T, const N: usize> From<[(&str, T); N]> for ByPattern<T> {
    fn from(patterns: [(&str, T); N]) -> Self {
        Self(patterns.into_iter().map(|(pattern, value)| (pattern.to_owned(), value)).collect())
    }
}

impl<T> From<Given<T>> for PerLayer<T> {
    fn from(given: Given<T>) -> Self {
        match given {
            Given::Every(value) => Self::from(value),
            Given::Patterns(patterns) => Self(patterns),
        }
    }
}

impl<T: Clone> From<PerLayer<T>> for Given<T> {
    fn from(values: PerLayer<T>) -> Self {
        match values.single() {
            Some(value) => Self::Every(value.clone()),
            None => Self::Patterns(values.0),
        }
    }
}

impl<T: OptionValue> OptionValue for ByPattern<T> {
    type Limits = T::Limits;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        Kind::Map(Box::new(T::kind(limits)))
    }

    fn value(&self) -> Option<Value> {
        let entry = |(pattern, value): (&str, &T)| Some((pattern.to_owned(), value.value()?));
        Some(Value::Map(self.iter().filter_map(entry).collect()))
    }

    fn read(value: &Value) -> Option<Self> {
        let Value::Map(values) = value else { return None };
        let entry = |(pattern, value): (&String, &Value)| Some((pattern.clone(), T::read(value)?));
        values.iter().map(entry).collect::<Option<_>>().map(Self)
    }
}

impl<T: OptionValue> OptionValue for PerLayer<T> {
    type Limits = T::Limits;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        Kind::OrMap(Box::new(T::kind(limits)))
    }

    fn value(&self) -> Option<Value> {
        self.single().map_or_else(|| self.0.value(), T::value)
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Map(_) => ByPattern::read(value).map(Self),
            _ => T::read(value).map(Self::from),
        }
    }
}

impl<T: OptionValue> fmt::Display for PerLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().map_or(Ok(()), |value| value.fmt(f))
    }
}
