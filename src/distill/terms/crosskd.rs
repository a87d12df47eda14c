//! The student's features through the teacher's head, whose outputs are compared with the teacher's own (Wang et al.
//! 2024, CrossKD, <https://arxiv.org/abs/2306.11369>).

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::super::{
    adapters::Adapters,
    comparison::{Compared, Comparison, Divergence, Heads, Map, Where},
    error::DistillError,
    features::{FeaturePair, Taps},
    head::{self, HeadLevel},
    pair::Pair,
    recipe::{AdapterKind, Outcome, Recipe},
};
use crate::{
    data::Target,
    exec::{
        self, Backend, NormStatistics, TrainOptions, ValueGradients,
        numbers::{Numbers, modify},
        transfer,
    },
    options::{OptionError, options},
    train::{Autograd, TermError},
};

options! {
    /// The student's features through the teacher's head.
    pub(in super::super) struct CrossHead {
        /// Softens the scores; that of the distiller unless given.
        pub temperature: Option<f32> = None, 0.1..=100.0;
        /// How much boxes count against scores.
        pub boxes: f32 = 1.0, 0.0..=1000.0;
        /// What brings the student's features to the teacher's width.
        pub adapter: AdapterKind = AdapterKind::Linear;
    }
}

impl Recipe for CrossHead {
    fn taps(&self) -> Option<&Taps> {
        Some(&Taps::Neck)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let adapter = match self.adapter {
            AdapterKind::Auto | AdapterKind::Linear => AdapterKind::Linear,
            AdapterKind::Conv => AdapterKind::Conv,
            AdapterKind::Kept => {
                let needs = "\"linear\" or \"conv\" for crosskd, whose head reads all of its channels";
                return Err(OptionError::value("adapter", needs, "\"kept\"").into());
            }
        };
        if pair.teachers.len() > 1 {
            return Err(DistillError::OneTeacher { term: "crosskd", teachers: pair.teachers.len() });
        }
        if pair.average.is_some() {
            return Err(DistillError::Moving { term: "crosskd" });
        }
        let adapters = Adapters::new("crosskd", adapter, pair, levels)?;
        let own = adapters.tensors(pair.options.seed)?;
        let detector = pair.original.detector().clone();
        let by = Divergence::Softened { temperature: self.temperature.unwrap_or(pair.options.temperature) };
        let scores = Compared::scores(pair.gains, weight, by);
        let boxes = Compared::Boxes { weight: weight * self.boxes, temperature: 1.0 };
        let compared = [(scores, Where::Everywhere), (boxes, Where::Confident)];
        let heads = compared.map(|(compared, places)| Heads {
            teacher_classes: detector.classes.len(),
            classes: (0..detector.classes.len()).map(Some).collect(),
            detector: detector.clone(),
            compared,
            places,
        });
        let head =
            levels.iter().map(|level| head::level(pair.original, level.teacher)).collect::<Result<Vec<_>, _>>()?;
        let (teacher, taps) = (Arc::clone(&pair.teacher), levels.iter().map(|level| level.student).collect::<Vec<_>>());
        let term = Autograd::new("distill_crosskd", move |leaves| {
            let input = leaves.input();
            let (wanted, on_cpu) = (input.run(&teacher)?, input.run_on_cpu(&teacher)?);
            let mut total = Tensor::zeros((), DType::F32, input.images.device())?;
            for (index, level) in head.iter().enumerate() {
                let [features, _] = adapters.pair(leaves, &wanted, index)?;
                let (value, gradient) = through(level, &features.detach(), &on_cpu.outputs, &heads, input.targets)?;
                // A number of that value and that gradient.
                let slope = (features.mul(&gradient)?.sum_all()? / input.batch() as f64)?;
                total = ((total + (&slope - slope.detach())?)? + value)?;
            }
            Ok(total)
        });
        Ok(Arc::new(term.taps(&taps).tensors(own)))
    }
}

/// How far a level's outputs for some features are from the teacher's, for a mean image, and the gradient of that times the
/// batch for the features. The head's own tensors stay as they are.
fn through(
    level: &HeadLevel,
    features: &Tensor,
    teacher: &[Tensor],
    heads: &[Heads; 2],
    targets: &[Target],
) -> Result<(f64, Tensor), TermError> {
    let options = TrainOptions {
        statistics: NormStatistics::Running,
        gradient_taps: &[head::FEATURES],
        ..TrainOptions::default()
    };
    let tape = exec::train_with(Backend::for_device(features.device()), &level.model, features, &options)?;
    let outputs = transfer::down(&tape.values.outputs)?;
    let numbers = teacher.iter().map(Numbers::of).collect::<candle_core::Result<Vec<_>>>()?;
    let maps = numbers.iter().zip(teacher).map(|(numbers, map)| Map::new(numbers, map));
    let maps = maps.collect::<candle_core::Result<Vec<_>>>()?;
    let zeros = |output: &Tensor| output.zeros_like();
    let gradients = outputs.iter().map(zeros).collect::<candle_core::Result<Vec<_>>>()?;
    let mut value = 0.0;
    for heads in heads {
        let comparison = Comparison::new(heads, features.dim(0)?, &maps, targets);
        for ((output, gradient), &map) in outputs.iter().zip(&gradients).zip(&level.outputs) {
            if comparison.concerns(map) {
                let student = Numbers::of(output)?;
                value += modify(gradient, |gradient| comparison.add(map, &student, gradient))?;
            }
        }
    }
    let gradients = transfer::up(&gradients, features.device())?.into_iter().map(Some).collect();
    let given = ValueGradients { outputs: gradients, ..ValueGradients::default() };
    let mut found = tape.backward(&given)?;
    let missing = || "the teacher's head does not depend on its features";
    Ok((value, found.taps.remove(&head::FEATURES).ok_or_else(missing)?))
}
