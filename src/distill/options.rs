//! What a distillation can be asked for.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::options::{Value, option_names, options};

/// Whose labels a student is trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// Those of the dataset. Images that a [subset](crate::data::Dataset::subset) keeps without labels do not count.
    #[default]
    Given,
    /// The teacher's, for all images.
    Teacher,
    /// Those of the dataset, and the teacher's for images without a label file (Lee 2013: pseudo-labels).
    Both,
}
option_names!(Labels, "labels": Given = "given", Teacher = "teacher", Both = "both");

options! {
    /// The terms beside the detection loss, and what they share.
    #[serde(default)]
    pub struct DistillOptions {
        /// The terms.
        #[serde(flatten)]
        pub terms: Terms = Terms::default();
        /// Softens objectness and class scores of terms that are given no temperature of their own.
        pub temperature: f32 = 2.0, 0.1..=100.0;
        /// Softens the features' distributions over places, unless `cwd` is given a temperature of its own.
        pub cwd_temperature: f32 = 4.0, 0.1..=100.0;
        /// Scales each term, by what it comes to in the first 20 steps, to this times its weight as a share of the detection
        /// loss. With 0 nothing is scaled: weights multiply losses.
        pub balance: f64 = 1.0, 0.0..=100.0;
        /// Whose boxes are the labels: those of the dataset, the teacher's for all images, or the teacher's for images without a
        /// label file. They are made once, before the training.
        pub labels: Labels = Labels::Given;
        /// Confidence above which a box of the teacher is a label.
        pub label_conf: f32 = 0.4, 0.0..=1.0;
        /// Folder in which the teacher's outputs are kept, image by image, so that it looks at each once; for training without
        /// augmentation.
        pub cache: Option<PathBuf> = None;
        /// GiB that the files of that folder may have, unless given 8; what does not fit is computed each time.
        pub cache_gib: Option<f64> = None, 0.0..=100_000.0;
        /// Seed of what the terms train along, and of what they draw.
        pub seed: u64 = 0;
    }
}

/// The terms that count, by their names in [`TERMS`](super::TERMS): weights, and the options of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, Value>", try_from = "BTreeMap<String, Value>")]
pub struct Terms(pub(super) BTreeMap<String, Given>);

/// What is given for a term.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub weight: f32,
    pub options: BTreeMap<String, Value>,
}

impl Terms {
    /// No term at all.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// The same with another weight for one term; a weight of 0 leaves it out. A name that is not in
    /// [`TERMS`](super::TERMS) is an error of [`Distiller::new`](super::Distiller::new).
    pub fn with(mut self, term: &str, weight: f32) -> Self {
        self.given(term).weight = weight;
        self
    }

    /// The same with an option of one term: what a script gives in the term's map. What the term does not take is an error
    /// of [`Distiller::new`](super::Distiller::new).
    pub fn with_option(mut self, term: &str, option: &str, value: Value) -> Self {
        self.given(term).options.insert(option.to_owned(), value);
        self
    }

    /// The weight of a term.
    pub fn of(&self, term: &str) -> f32 {
        self.0.get(term).map_or(0.0, |given| given.weight)
    }

    fn given(&mut self, term: &str) -> &mut Given {
        self.0.entry(term.to_owned()).or_insert_with(|| Given { weight: 0.0, options: BTreeMap::new() })
    }
}

/// The key of a weight in a term's map.
pub(super) const WEIGHT: &str = "weight";

impl Given {
    /// A number, or a map where there is more than a weight.
    pub fn value(&self) -> Value {
        let weight = Value::Number(decimal(self.weight));
        if self.options.is_empty() {
            return weight;
        }
        let mut map = self.options.clone();
        map.insert(WEIGHT.into(), weight);
        Value::Map(map)
    }

    /// From a number, or a map whose weight is 1 where it has none.
    pub fn read(value: &Value) -> Option<Self> {
        let number = |value: &Value| match value {
            Value::Int(number) => Some(*number as f32),
            Value::Number(number) => Some(*number as f32),
            _ => None,
        };
        match value {
            Value::Map(map) => {
                let mut options = map.clone();
                let weight = options.remove(WEIGHT).map_or(Some(1.0), |weight| number(&weight))?;
                Some(Self { weight, options })
            }
            other => number(other).map(|weight| Self { weight, options: BTreeMap::new() }),
        }
    }
}

/// The number that is written as the fp32 number is.
pub(super) fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

impl From<Terms> for BTreeMap<String, Value> {
    fn from(terms: Terms) -> Self {
        terms.0.into_iter().map(|(name, given)| (name, given.value())).collect()
    }
}

impl TryFrom<BTreeMap<String, Value>> for Terms {
    type Error = String;

    fn try_from(terms: BTreeMap<String, Value>) -> Result<Self, String> {
        let term = |(name, value): (String, Value)| {
            let given = Given::read(&value).ok_or_else(|| format!("{name}: a weight or a map, not {value}"))?;
            Ok((name, given))
        };
        terms.into_iter().map(term).collect::<Result<_, String>>().map(Self)
    }
}
