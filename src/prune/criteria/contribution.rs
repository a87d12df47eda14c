//! `contribution`: the share of what its readers see.

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part},
    criterion::{About, Criterion, Form},
    moments::moments,
    needs::Data,
};
use crate::graph::Reader;

/// How much of the variance that the readers of a channel give comes from it.
///
/// A reader's filter j gives a sum over channels c and kernel positions k of w(j,c,k)·x(c). Were all channels and positions
/// independent, its variance would be Σ w²(j,c,k)·Var\[x(c)\], so that channel c has the share Σₖ w²(j,c,k)·Var\[c\]/Var\[j\] in
/// it. The score is the mean share over the filters of a reader, summed over readers. Var\[c\] follows from the scales and
/// shifts of the normalisations before it, Var\[j\] is the running variance of the normalisation behind the reader (see
/// `moments.rs`). It is the first term of what removing the channel changes in its readers, relative to what they give,
/// and so has no unit: layers compare without being normalised. No paper has this formula; Molchanov et al. 2019 and
/// Luo et al. 2017 (ThiNet) measure the same change on data.
pub(super) struct Contribution;

impl Criterion for Contribution {
    fn about(&self) -> About {
        About {
            name: "contribution",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: &[Granularity::Channel],
                units: "readers",
                data: Data::None,
                formula: "mean over a reader's filters j of Σ w² · Var[c] / Var[j], summed over readers",
            }],
            paper: "derived from the variance of a sum; compare Luo et al. 2017, ThiNet",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        let moments = moments(context.model)?;
        // A channel that nothing reads contributes nothing.
        let all: Vec<usize> = (0..context.groups.count()).collect();
        let mut parts = vec![Part { value: None, scores: vec![0.0; all.len()], channels: all }];
        for Reader { node, input, name, axis: _ } in context.model.graph().readers() {
            let weight = &context.model.tensors()[&name];
            let (filters, columns) = (weight.dim(0)?, weight.dim(1)?);
            let values = weight.flatten_all()?.to_vec1::<f32>()?;
            let kernel = (values.len() / (filters * columns).max(1)).max(1);
            let mut shares = vec![0.0; columns];
            for (place, kernel) in values.chunks_exact(kernel).enumerate() {
                let (row, column) = (place / columns, place % columns);
                let energy: f64 = kernel.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
                let share = energy * moments[input][column].variance / moments[node][row].variance.max(1e-12);
                shares[column] += share / filters as f64;
            }
            parts.push(context.part(input, shares));
        }
        Ok(parts)
    }
}
