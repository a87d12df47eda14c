//! What a distillation can be asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::options::options;

options! {
    /// Weights and temperatures of the terms beside the detection loss.
    #[serde(default)]
    pub struct DistillOptions {
        /// Weights of the terms.
        #[serde(flatten)]
        pub weights: Weights = Weights::default();
        /// Softens objectness and class scores.
        pub temperature: f32 = 2.0, 0.1..=100.0;
        /// Softens the features' distributions over places.
        pub cwd_temperature: f32 = 4.0, 0.1..=100.0;
        /// Seed of the adapters' first weights.
        pub seed: u64 = 0;
    }
}

/// The weight of each term of [`TERMS`](super::TERMS), by its name; a weight of 0 leaves a term out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weights(pub(super) BTreeMap<String, f32>);

impl Weights {
    /// No term at all.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// The same with another weight for one term. A name that is not in [`TERMS`](super::TERMS) is an error of
    /// [`Distiller::new`](super::Distiller::new).
    pub fn with(mut self, term: &str, weight: f32) -> Self {
        self.0.insert(term.to_owned(), weight);
        self
    }

    /// The weight of a term.
    pub fn of(&self, term: &str) -> f32 {
        self.0.get(term).copied().unwrap_or(0.0)
    }
}
