//! Attention transfer (Zagoruyko and Komodakis 2017, <https://arxiv.org/abs/1612.03928>).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{error::DistillError, pair::Pair};
use crate::train::{Autograd, Term};

/// Compares where teacher and student have large features, level by level: the squared distance of their maps of
/// attention. Widths may differ, so there are no adapters.
pub(super) fn term(pair: &Pair<'_>, weight: f32) -> std::result::Result<Arc<dyn Term>, DistillError> {
    let (teacher, levels) = (Arc::clone(&pair.teacher), pair.features.clone());
    let term = Autograd::new("distill_at", move |leaves| {
        let wanted = leaves.input().run(&teacher)?;
        let mut distances = Vec::with_capacity(levels.len());
        for level in &levels {
            let apart = (attention(&leaves.tap(level.student)?)? - attention(&wanted.taps[&level.teacher])?)?;
            distances.push(apart.sqr()?.sum(1)?.mean(0)?);
        }
        Ok((Tensor::stack(&distances, 0)?.sum_all()? * f64::from(weight))?)
    });
    Ok(Arc::new(term.taps(&pair.student_taps()).settings(pair.settings(weight, None))))
}

/// The mean square over the channels of features (n, c, h, w), as vectors (n, h·w) of length 1.
fn attention(features: &Tensor) -> Result<Tensor> {
    let map = features.sqr()?.mean(1)?.flatten_from(1)?;
    // A map of zeros has no direction; the smallest length keeps its gradient finite.
    let length = (map.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?;
    map.broadcast_div(&length)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        distill::{
            options::{DistillOptions, Weights},
            pair::FeaturePair,
        },
        exec::{self, Inference, Values},
        graph::{Conv, Graph, Op},
        model::{Model, Tensors, fixtures::headless},
        train::{LossGradients, TermInput, loss::Gains},
    };

    /// A 1×1 convolution with these weights (out, in).
    fn model(weight: [[f32; 2]; 2]) -> Model {
        let mut graph = Graph::new();
        let image = graph.add("images", Op::Input { channels: 2 }, &[]);
        let conv = graph.add("model.0.conv", Op::Conv(Conv::same(2, 2, 1, 1)), &[image]);
        graph.set_outputs(vec![conv]);
        let weight = Tensor::new(&weight, &Device::Cpu).unwrap().reshape((2, 2, 1, 1)).unwrap();
        headless(graph, Tensors::from([("model.0.conv.weight".to_string(), weight)]))
    }

    /// Two images of two channels and 1×2 places.
    fn images() -> Tensor {
        Tensor::new(&[[[[1f32, 2.0]], [[0.5, -1.0]]], [[[3.0, 1.0]], [[1.0, 0.25]]]], &Device::Cpu).unwrap()
    }

    fn compute(teacher: &Model, student: &Model, taps: &Values) -> (f64, LossGradients) {
        let (options, gains) = (DistillOptions { weights: Weights::none(), ..Default::default() }, Gains::default());
        let pair = Pair {
            teacher: Arc::new(Inference::new(teacher, &[1]).unwrap()),
            features: vec![FeaturePair { teacher: 1, student: 1, teacher_width: 2, student_width: 2 }],
            ..Pair::new(teacher, student, &options, &gains, false).unwrap()
        };
        let (images, none) = (images(), Tensors::new());
        let input = TermInput::new(&images, &[], student, taps, &none, 0.0);
        let mut gradients = LossGradients::none(1);
        let value = term(&pair, 0.7).unwrap().compute(&input, &mut gradients).unwrap();
        (value[0], gradients)
    }

    fn run(model: &Model) -> Values {
        exec::infer(model, &images(), &[1]).unwrap()
    }

    #[test]
    fn a_student_that_is_the_teacher_is_at_no_distance() {
        let teacher = model([[1.0, 0.5], [-0.5, 1.0]]);
        let (value, gradients) = compute(&teacher, &teacher, &run(&teacher));
        assert_eq!(value, 0.0);
        let gradient = gradients.values().taps[&1].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|&gradient| gradient == 0.0), "{gradient:?}");
    }

    /// The teacher is the identity, the student swaps nothing but doubles the second channel.
    #[test]
    fn the_value_is_that_computed_by_hand() {
        let (teacher, student) = (model([[1.0, 0.0], [0.0, 1.0]]), model([[1.0, 0.0], [0.0, 2.0]]));
        let (value, _) = compute(&teacher, &student, &run(&student));
        let unit = |a: f64, b: f64| [a / (a * a + b * b).sqrt(), b / (a * a + b * b).sqrt()];
        let apart = |[a, b]: [f64; 2], [c, d]: [f64; 2]| (a - c).powi(2) + (b - d).powi(2);
        // Means over the channels of 1², 0.5² and 2², 1² of the first image; 3², 1² and 1², 0.25² of the second.
        let first = apart(unit(0.625, 2.5), unit(1.0, 4.0));
        let second = apart(unit(5.0, 0.53125), unit(6.5, 0.625));
        let expected = 0.7 * (first + second) / 2.0;
        assert!(expected > 1e-6 && (value - expected).abs() < 1e-6, "{value} against {expected}");
    }

    #[test]
    fn gradients_match_finite_differences() {
        let (teacher, student) = (model([[1.0, 0.5], [-0.5, 1.0]]), model([[0.2, 1.0], [0.5, -1.5]]));
        let values = run(&student);
        let (_, gradients) = compute(&teacher, &student, &values);
        let gradient = gradients.values().taps[&1].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let features = values.taps[&1].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for index in 0..features.len() {
            let shifted = |delta: f32| {
                let mut features = features.clone();
                features[index] += delta;
                let tap = Tensor::from_vec(features, values.taps[&1].dims(), &Device::Cpu).unwrap();
                compute(&teacher, &student, &Values { taps: [(1, tap)].into(), ..values.clone() }).0
            };
            // The gradient is of the loss times the two images.
            let numeric = 2.0 * (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            let found = f64::from(gradient[index]);
            assert!((numeric - found).abs() < 1e-3 * numeric.abs().max(0.1), "{index}: {numeric} {found}");
        }
        assert!(gradient.iter().any(|gradient| gradient.abs() > 1e-2), "{gradient:?}");
    }
}
