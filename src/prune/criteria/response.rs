//! `response`: how far a filter follows its input.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::responses,
    reduce::Reduce,
};
use crate::model::Model;

/// The standard deviation, over images and places, of what a filter gives after its normalisation and before its activation
/// function. Of the raw convolution it would mean nothing: the normalisation undoes its scale.
pub(super) struct Response;

impl Criterion for Response {
    fn about(&self) -> About {
        About {
            name: "response",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: &[Granularity::Filter],
                units: "filters",
                data: Data::Images,
                formula: "standard deviation of what it gives, normalised, before the activation; mean over its filters",
            }],
            paper: "own: how far a filter follows its input; compare Hu et al. 2016, Network Trimming",
        }
    }

    fn needs(&self, model: &Model, _: Granularity) -> Needs {
        Needs { activations: responses(model), ..Needs::default() }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let deviations = |node| Some(context.measured.activations.get(&node)?.iter().map(|seen| seen.deviation()));
        Ok(context.flows(&responses(context.model), deviations))
    }

    fn reduce(&self, _: Granularity) -> Reduce {
        Reduce::Mean
    }
}
