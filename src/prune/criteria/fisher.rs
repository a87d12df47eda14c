//! `fisher`: what the loss would change by, to second order.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, WeightScores},
    criterion::{About, Criterion, Form},
    needs::{Data, Needs},
    places::activations,
};
use crate::{graph::Role, model::Model};

/// The Fisher information, which stands for the second derivative of the detection loss: of a weight w² times the mean of g²
/// over single images, of a filter the sum of these, of a channel the mean over images of (Σ a·∂L/∂a)², summed over all
/// layers coupled in it and all places before it is squared.
pub(super) struct Fisher;

impl Criterion for Fisher {
    fn about(&self) -> About {
        About {
            name: "fisher",
            aliases: &[],
            strategy: Strategy::Sensitivity,
            forms: &[
                Form {
                    granularities: &[Granularity::Channel],
                    units: "activations",
                    data: Data::Labels,
                    formula: "mean over images of (Σ a·∂L/∂a over its layers and places)²",
                },
                Form {
                    granularities: &[Granularity::Filter],
                    units: "filters",
                    data: Data::Labels,
                    formula: "Σ w² · mean g² of single images over its filters",
                },
                Form {
                    granularities: Granularity::MASKED,
                    units: "weights",
                    data: Data::Labels,
                    formula: "w² · mean g² of single images",
                },
            ],
            paper: "Theis et al. 2018, Faster Gaze Prediction with Dense Networks; Liu et al. 2021, Group Fisher Pruning",
        }
    }

    fn needs(&self, model: &Model, granularity: Granularity) -> Needs {
        match granularity {
            Granularity::Channel => Needs { joint: activations(model), ..Needs::default() },
            Granularity::Filter | Granularity::Weight | Granularity::NM | Granularity::Block | Granularity::Depth => {
                Needs { squares: true, ..Needs::default() }
            }
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        if context.granularity == Granularity::Filter {
            return context.paired(Role::Weight, &context.measured.squares, |w, square| w * w * square);
        }
        let channels: Vec<usize> = (0..context.measured.joint.len()).collect();
        Ok(vec![Part { value: None, channels, scores: context.measured.joint.clone() }])
    }

    fn weights(&self, context: &Context) -> Result<Vec<WeightScores>, PruneError> {
        context.paired_weights(&context.measured.squares, |w, square| w * w * square)
    }
}
