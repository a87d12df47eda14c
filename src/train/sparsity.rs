//! What sparse training penalises, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::options::option_names;

/// Which penalty drives weights to zero while a model is trained.
///
/// Each is a proximal step after the optimiser's: neither clipping nor momentum distorts it, and zeros are exact. With lr the
/// learning rate of the step and λ the strength, t = lr · λ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparsity {
    /// Every weight of every convolution moves towards zero by t: w ← sign(w) · max(|w| − t, 0) (Tibshirani 1996; as a
    /// proximal step, Daubechies et al. 2004).
    L1,
    /// The same of every normalisation scale, which makes channels unimportant (Liu et al. 2017, network slimming).
    Slimming,
    /// All that belongs to a coupled channel shrinks together: v ← v · max(1 − t · √n / ‖v‖₂, 0) for its n numbers (Yuan
    /// and Lin 2006), so that whole channels come to zero and can be removed without a change.
    GroupLasso,
    /// What is going to be removed decays, more and more strongly: v ← v / (1 + t), the proximal step of λ/2 · ‖v‖₂² (Wang
    /// et al. 2021).
    Growing,
}
option_names!(Sparsity, "sparsity":
    L1 = "l1", Slimming = "slimming", GroupLasso = "group_lasso", Growing = "growing");

impl Sparsity {
    /// The strength where none is given.
    pub fn strength(self) -> f32 {
        match self {
            Self::L1 | Self::GroupLasso => 0.01,
            Self::Slimming => 0.1,
            Self::Growing => 5.0,
        }
    }

    /// Whether it must be told which [`RowSets`] there are.
    pub fn needs_rows(self) -> bool {
        match self {
            Self::L1 | Self::Slimming => false,
            Self::GroupLasso | Self::Growing => true,
        }
    }
}

/// Which rows of which trained tensors belong together: those of a coupled channel are one set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowSets {
    /// By the name of a tensor: for every index of its first axis the number of its set, if it is in one.
    pub rows: BTreeMap<String, Vec<Option<u32>>>,
}
