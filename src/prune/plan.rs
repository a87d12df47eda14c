//! A plan: what goes. It can be printed, saved, edited and replayed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{error::PruneError, masks::MaskPlan};
use crate::io::{load_json, save_json};

/// Which channels of which layers, and which residual branches, go, and which weights are held at zero. What is coupled to
/// channels (normalisations, residual partners, the columns of readers) follows when the plan is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the model that it was made for.
    pub model: String,
    /// What was asked for, in words.
    pub asked: String,
    /// Side of the images that MACs are counted for.
    pub size: usize,
    /// By name of a convolution: what happens to its filters.
    pub layers: BTreeMap<String, LayerPlan>,
    /// Residual branches that go as a whole, by the names of their modules; see [`branches`](super::branches).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub branches: BTreeSet<String>,
    /// By the name of a tensor: which of its weights are held at zero.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masks: BTreeMap<String, MaskPlan>,
}

/// What happens to a convolution's filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPlan {
    /// Filters it has.
    pub channels: usize,
    /// Filters that go, by index.
    pub remove: Vec<usize>,
}

impl Plan {
    /// Writes the plan as JSON; what was there before is replaced only once the new file is complete.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PruneError> {
        Ok(save_json(path.as_ref(), self)?)
    }

    /// Reads a plan that [`Plan::save`] wrote, or that was edited since.
    ///
    /// # Errors
    /// Where the file cannot be read or is no plan; says where.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PruneError> {
        Ok(load_json(path.as_ref(), "plan")?)
    }

    /// What was found not to fit, as a fault of the plan where it is of another model.
    pub(super) fn misfit(&self, error: PruneError) -> PruneError {
        match error {
            PruneError::NoSuchLayer { .. } | PruneError::Misfit { .. } | PruneError::NoSuchBranch { .. } => {
                PruneError::OtherPlan { planned: self.model.clone(), source: Box::new(error) }
            }
            other => other,
        }
    }
}
