//! What a term is made from: the options that it has beside its weight.

use std::sync::Arc;

use super::{
    error::DistillError,
    features::{FeaturePair, Taps},
    pair::Pair,
};
use crate::{
    options::{option_names, options},
    train::Term,
};

/// A term, or why teacher and student do not have what it compares.
pub(super) type Outcome = Result<Arc<dyn Term>, DistillError>;

/// What a term is made from. Its fields are its options.
pub(super) trait Recipe {
    /// Which features it compares; none where it compares outputs.
    fn taps(&self) -> Option<&Taps> {
        None
    }

    /// Whether it says nothing where there is no labelled box.
    fn needs_boxes(&self) -> bool {
        false
    }

    /// Makes the term, for a weight above 0 and the features that it asked for.
    ///
    /// # Errors
    /// Where teacher and student do not have what it compares.
    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome;
}

options! {
    /// Of a term that compares features of any widths.
    pub(super) struct Places {
        /// "neck", "backbone", names or patterns of layers in both, or a map of the teacher's to the student's.
        pub taps: Taps = Taps::Neck;
    }
}

options! {
    /// Of a term that compares features channel by channel.
    pub(super) struct Features {
        /// "neck", "backbone", names or patterns of layers in both, or a map of the teacher's to the student's.
        pub taps: Taps = Taps::Neck;
        /// What brings the student's features to the teacher's width: a 1×1 convolution where the widths differ; 1×1, ReLU,
        /// 1×1 at any width; nothing where the student was pruned from the teacher: the channels that it kept are compared.
        /// "auto": the last where it can be, else the first.
        pub adapter: AdapterKind = AdapterKind::Auto;
    }
}

/// What brings the student's features to the teacher's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdapterKind {
    /// `Kept` for a student that was pruned from its teacher, `Linear` for any other.
    Auto,
    /// A 1×1 convolution, where the widths differ.
    Linear,
    /// 1×1, ReLU, 1×1, at any width.
    Conv,
    /// None: the channels that a student pruned from its teacher kept are compared.
    Kept,
}
option_names!(AdapterKind, "adapter": Auto = "auto", Linear = "linear", Conv = "conv", Kept = "kept");
