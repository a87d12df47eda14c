//! What a distillation can be asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::DistillError;

/// Weights and temperatures of the terms beside the detection loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistillOptions {
    /// Weights of the terms.
    #[serde(flatten)]
    pub weights: Weights,
    /// Softens objectness and class scores; at least a tenth.
    pub temperature: f32,
    /// Softens the features' distributions over places; at least a tenth.
    pub cwd_temperature: f32,
    /// Where the adapters start from.
    pub seed: u64,
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

impl Default for DistillOptions {
    fn default() -> Self {
        Self { weights: Weights::default(), temperature: 2.0, cwd_temperature: 4.0, seed: 0 }
    }
}

impl DistillOptions {
    /// Checks the temperatures.
    pub(super) fn validate(&self) -> Result<(), DistillError> {
        for (name, value) in [("temperature", self.temperature), ("cwd_temperature", self.cwd_temperature)] {
            if !(value.is_finite() && value >= 0.1) {
                return Err(DistillError::Option { name, value, expected: "a number of at least 0.1" });
            }
        }
        Ok(())
    }
}
