//! A loss of the user's own, as data.

use super::super::{
    adapters::Adapters,
    by_level::sum_over_adapted,
    error::DistillError,
    expression::Expression,
    features::{FeaturePair, Taps},
    pair::Pair,
    recipe::{Features, Outcome, Recipe},
};
use crate::options::{OptionError, options};

options! {
    /// A loss of the user's own.
    pub(in super::super) struct Own {
        /// What is compared.
        pub features: Features = Features::default();
        /// The recorded function, as JSON.
        pub expression: Option<String> = None;
    }
}

impl Recipe for Own {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let takes = "a loss as data: what a script's function |t, s| … was recorded to";
        let text = self.expression.as_deref().ok_or_else(|| OptionError::value("expression", takes, "nothing"))?;
        let expression: Expression =
            serde_json::from_str(text).map_err(|error| OptionError::value("expression", takes, error))?;
        if !expression.reads_student() {
            let reason = "it does not depend on the student, so there is nothing to learn".into();
            return Err(DistillError::Expression { text: expression.to_string(), reason });
        }
        let adapters = Adapters::new("loss", self.features.adapter, pair, levels)?;
        (0..levels.len()).try_for_each(|level| expression.check([2, adapters.width(level), 6, 6]))?;
        sum_over_adapted(pair, "loss", (&self.features, levels), weight, move |[found, wanted], _, _, _| {
            Ok(expression.evaluate(&wanted, &found)?)
        })
    }
}
