//! Channel-wise distillation of features (Shu et al. 2021, <https://arxiv.org/abs/2011.13256>).

use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use candle_nn::ops::log_softmax;
use espalier_kernels::{elementwise, scratch};
use rayon::prelude::*;
use serde_json::Value;

use super::super::{
    adapter::Adapter,
    adapters::initial,
    by_level::sum_over_adapted,
    divergence::over_places,
    error::DistillError,
    features::{FeaturePair, Taps},
    kept::compared_channels,
    normalise::standardise,
    pair::Pair,
    recipe::{AdapterKind, Features, Outcome, Recipe},
};
use crate::{
    exec::numbers::{self, Numbers},
    graph::NodeId,
    model::Tensors,
    options::options,
    train::{LossGradients, Teacher, Term, TermError, TermInput},
};

options! {
    /// Where each channel looks.
    pub(in super::super) struct ChannelWise {
        /// What is compared.
        pub features: Features = Features::default();
        /// Softens the distributions over places; that of the distiller unless given.
        pub temperature: Option<f32> = None, 0.1..=100.0;
        /// Whether each channel is brought to mean 0 and variance 1 first.
        pub normalize: bool = false;
    }
}

impl Recipe for ChannelWise {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let temperature = self.temperature.unwrap_or(pair.options.cwd_temperature);
        if self.normalize || self.features.adapter == AdapterKind::Conv {
            return self.in_candle(pair, levels, weight, temperature.into());
        }
        Ok(Arc::new(Direct {
            teacher: Arc::clone(&pair.teacher),
            levels: levels.to_vec(),
            kept: compared_channels(self.features.adapter, pair, levels)?,
            weight,
            temperature,
            seed: pair.options.seed,
        }))
    }
}

impl ChannelWise {
    /// With any adapter and normalisation.
    fn in_candle(
        &self,
        pair: &Pair<'_>,
        levels: &[FeaturePair],
        weight: f32,
        temperature: f64,
    ) -> Result<Arc<dyn Term>, DistillError> {
        let normalize = self.normalize;
        sum_over_adapted(pair, "cwd", (&self.features, levels), weight, move |pair, _, _, _| {
            let (images, channels, ..) = pair[0].dims4()?;
            let logarithms = |features: &Tensor| {
                let features = if normalize { standardise(features)? } else { features.clone() };
                log_softmax(&(features.flatten_from(2)? / temperature)?, D::Minus1)
            };
            let (found, wanted) = (logarithms(&pair[0])?, logarithms(&pair[1])?);
            let divergence = wanted.exp()?.mul(&(wanted - found)?)?.sum_all()?;
            Ok((divergence * (temperature * temperature / (channels * images) as f64))?)
        })
    }
}

/// On plain slices: through a linear adapter where the widths differ, or between the channels that the student kept.
struct Direct {
    teacher: Arc<dyn Teacher>,
    levels: Vec<FeaturePair>,
    /// Of each level, the teacher's channels that are compared; none where it is all of them.
    kept: Vec<Option<Vec<u32>>>,
    weight: f32,
    temperature: f32,
    seed: u64,
}

impl Term for Direct {
    fn part_names(&self) -> Vec<String> {
        vec!["distill_cwd".into()]
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn taps(&self) -> Vec<NodeId> {
        self.levels.iter().map(|level| level.student).collect()
    }

    fn tensors(&self) -> Result<Tensors, TermError> {
        let mut tensors = Tensors::new();
        for index in 0..self.levels.len() {
            if let Some(adapter) = self.adapter(index) {
                let widths = [adapter.student, adapter.teacher];
                tensors.insert(adapter_name(index), initial(widths, 1, self.seed.wrapping_add(index as u64))?);
            }
        }
        Ok(tensors)
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let teacher = input.run_on_cpu(&self.teacher)?;
        let mut sum = 0.0;
        for (index, level) in self.levels.iter().enumerate() {
            sum += self.compare_level(index, input, &teacher.taps[&level.teacher], gradients)?;
        }
        Ok(vec![sum])
    }
}

/// Some of the planes of each image.
fn planes(numbers: &[f32], chosen: &[u32], [channels, places]: [usize; 2]) -> scratch::Scratch {
    let images = numbers.len() / (channels * places);
    let mut taken = scratch::take(images * chosen.len() * places);
    let from = (0..images).flat_map(|image| chosen.iter().map(move |&channel| image * channels + channel as usize));
    for (to, from) in taken.chunks_exact_mut(places).zip(from) {
        to.copy_from_slice(&numbers[from * places..][..places]);
    }
    taken
}

fn adapter_name(level: usize) -> String {
    format!("distill.adapter.{level}.weight")
}

/// Numbers of a teacher's features that are worked on at once.
const CACHED: usize = 1 << 17;

impl Direct {
    /// What brings the student's features to the teacher's width, where they differ.
    fn adapter(&self, index: usize) -> Option<Adapter> {
        let level = &self.levels[index];
        let adapter = Adapter { student: level.student_width, teacher: level.teacher_width };
        (adapter.student != adapter.teacher && self.kept[index].is_none()).then_some(adapter)
    }

    /// Compares one pair of features; gives the loss for a mean image and adds gradients.
    fn compare_level(
        &self,
        index: usize,
        input: &TermInput<'_>,
        teacher: &Tensor,
        gradients: &mut LossGradients,
    ) -> Result<f64, TermError> {
        let level = &self.levels[index];
        let student = &input.taps_on_cpu()?[&level.student];
        let dims = student.dims4()?;
        let (batch, _, height, width) = dims;
        let kept = self.kept[index].as_deref();
        let maps = [kept.map_or(level.teacher_width, <[u32]>::len), height * width];
        let (wanted, features) = (Numbers::of(teacher)?, Numbers::of(student)?);
        let (name, adapter) = (adapter_name(index), self.adapter(index));
        let prepared = adapter.as_ref().map(|adapter| {
            let matrix = &input.tensors_on_cpu()?[&name];
            candle_core::Result::Ok(adapter.prepare([height, width], &Numbers::of(matrix)?))
        });
        let prepared = prepared.transpose()?;
        let compare = |teacher: &[f32], features: &[f32], of_features: &mut [f32]| match &prepared {
            None => {
                of_features.copy_from_slice(features);
                let chosen = kept.map(|kept| planes(teacher, kept, [level.teacher_width, maps[1]]));
                (self.compare_planes(chosen.as_deref().unwrap_or(teacher), of_features, maps), Vec::new())
            }
            Some(adapter) => {
                let mut widened = adapter.forward(features);
                let loss = self.compare_planes(teacher, &mut widened, maps);
                (loss, adapter.backward(features, &widened, of_features))
            }
        };
        let mut of_features = numbers::zeros(features.len());
        // Few images at a time, so that what lies between stays in the caches.
        let [of_teacher, of_student] = [&wanted, &features].map(|all| all.len() / batch);
        let images = (CACHED / of_teacher).min(batch / 8).max(1);
        let teachers = wanted.par_chunks(images * of_teacher);
        let students = features.par_chunks(images * of_student).zip(of_features.par_chunks_mut(images * of_student));
        let (losses, of_matrices): (Vec<f64>, Vec<Vec<f32>>) =
            teachers.zip(students).map(|(teacher, (student, gradient))| compare(teacher, student, gradient)).unzip();
        if let Some(adapter) = adapter {
            let mut of_matrix = vec![0.0; adapter.teacher * adapter.student];
            of_matrices.iter().for_each(|some| elementwise::add_assign(&mut of_matrix, some));
            gradients.add_tensor(&name, Tensor::from_vec(of_matrix, adapter.dims(), &Device::Cpu)?)?;
        }
        gradients.add_tap(level.student, Tensor::from_vec(of_features, dims, &Device::Cpu)?)?;
        Ok(losses.iter().sum::<f64>() / batch as f64)
    }

    /// Compares features of one width and size; the student's become their gradient.
    fn compare_planes(&self, teacher: &[f32], student: &mut [f32], [channels, places]: [usize; 2]) -> f64 {
        let scale = self.weight / channels as f32;
        let mut buffer = scratch::take(places);
        let planes = teacher.chunks_exact(places).zip(student.chunks_exact_mut(places));
        planes.map(|(teacher, student)| over_places(teacher, student, self.temperature, scale, &mut buffer)).sum()
    }
}
