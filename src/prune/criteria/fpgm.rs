//! `fpgm`: how far a filter is from the others of its layer.

use candle_core::{Device, Tensor};

use super::{
    super::{error::PruneError, granularity::Granularity, strategy::Strategy},
    context::{Context, Part, Weight},
    criterion::{About, Criterion, Form},
    needs::Data,
};

/// Σⱼ ‖fᵢ − fⱼ‖₂ over the filters j of its convolution: a filter near the others can be replaced by them.
pub(super) struct Fpgm;

impl Criterion for Fpgm {
    fn about(&self) -> About {
        About {
            name: "fpgm",
            aliases: &[],
            strategy: Strategy::Importance,
            forms: &[Form {
                granularities: &[Granularity::Filter],
                units: "filters",
                data: Data::None,
                formula: "Σⱼ ‖fᵢ − fⱼ‖₂ over the filters of its convolution, summed over its convolutions",
            }],
            paper: "He et al. 2019, Filter Pruning via Geometric Median",
        }
    }

    fn units(&self, context: &Context) -> Result<Vec<Part>, PruneError> {
        context.filters(|Weight { conv, numbers, .. }| Ok(distances(numbers, conv.out_channels)?))
    }
}

/// For every filter, the sum of its distances from all: ‖a − b‖² = ‖a‖² + ‖b‖² − 2·a·b, in double precision.
fn distances(weights: &[f32], filters: usize) -> candle_core::Result<Vec<f64>> {
    let wide: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let rows = Tensor::from_vec(wide, (filters, weights.len() / filters), &Device::Cpu)?;
    let products = rows.matmul(&rows.t()?)?.to_vec2::<f64>()?;
    let distance = |a: usize, b: usize| (products[a][a] + products[b][b] - 2.0 * products[a][b]).max(0.0).sqrt();
    // Rounding must not set a filter apart from itself.
    let others = |a: usize| (0..filters).filter(move |&b| b != a);
    Ok((0..filters).map(|a| others(a).map(|b| distance(a, b)).sum()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_summed_over_the_layer() {
        // Filters (0, 0), (3, 4), (0, 1).
        let found = distances(&[0.0, 0.0, 3.0, 4.0, 0.0, 1.0], 3).unwrap();
        let expected = [5.0 + 1.0, 5.0 + 18f64.sqrt(), 1.0 + 18f64.sqrt()];
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
    }
}
