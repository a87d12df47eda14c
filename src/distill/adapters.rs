//! What brings the student's features to the teacher's width, in operations that candle can differentiate.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    convolve::convolve, error::DistillError, features::FeaturePair, kept::compared_channels, pair::Pair,
    recipe::AdapterKind,
};
use crate::{
    exec::{ExecError, Values},
    model::Tensors,
    train::{Leaves, TermError},
};

/// The adapters of a term, a level each.
pub(super) struct Adapters {
    /// What its tensors' names begin with.
    term: &'static str,
    kind: AdapterKind,
    levels: Vec<FeaturePair>,
    /// Of each level, the teacher's channels that are compared; none where it is all of them.
    kept: Vec<Option<Tensor>>,
}

impl Adapters {
    /// Those of a term's levels.
    ///
    /// # Errors
    /// Where it is asked for channels that were kept, and they are not known.
    pub fn new(
        term: &'static str,
        kind: AdapterKind,
        pair: &Pair<'_>,
        levels: &[FeaturePair],
    ) -> Result<Self, DistillError> {
        let device = pair.student.device();
        let chosen = |channels: Option<Vec<u32>>| channels.map(|channels| Tensor::new(channels, &device)).transpose();
        let kept = compared_channels(kind, pair, levels)?.into_iter().map(chosen);
        let kept = kept.collect::<candle_core::Result<_>>().map_err(ExecError::from)?;
        Ok(Self { term, kind, levels: levels.to_vec(), kept })
    }

    /// Channels of a level's features as they are compared.
    pub fn width(&self, level: usize) -> usize {
        match self.kept[level] {
            Some(_) => self.levels[level].student_width,
            None => self.levels[level].teacher_width,
        }
    }

    /// Their tensors at the start, the same for the same seed.
    pub fn tensors(&self, seed: u64) -> Result<Tensors, ExecError> {
        let mut tensors = Tensors::new();
        for index in 0..self.levels.len() {
            let seed = seed.wrapping_add(1000 * index as u64);
            for (step, widths) in self.widths(index).into_iter().enumerate() {
                let weight = initial(widths, 1, seed.wrapping_add(step as u64))?;
                tensors.insert(self.name(index, step), weight);
            }
        }
        Ok(tensors)
    }

    /// The widths of a level's steps.
    fn widths(&self, level: usize) -> Vec<[usize; 2]> {
        let FeaturePair { student_width: from, teacher_width: to, .. } = self.levels[level];
        match self.kind {
            _ if self.kept[level].is_some() => Vec::new(),
            AdapterKind::Conv => vec![[from, to], [to, to]],
            AdapterKind::Auto | AdapterKind::Linear | AdapterKind::Kept if from == to => Vec::new(),
            AdapterKind::Auto | AdapterKind::Linear | AdapterKind::Kept => vec![[from, to]],
        }
    }

    fn name(&self, level: usize, step: usize) -> String {
        format!("distill.{}.adapter.{level}.{step}.weight", self.term)
    }

    /// A level's features as they are compared, of one width: the student's (with gradients) and the teacher's.
    pub fn pair(&self, leaves: &Leaves<'_>, wanted: &Values, index: usize) -> Result<[Tensor; 2], TermError> {
        let level = &self.levels[index];
        let mut features = leaves.tap(level.student)?;
        for step in 0..self.widths(index).len() {
            if step > 0 {
                features = features.relu()?;
            }
            features = convolve(&features, &leaves.tensor(&self.name(index, step))?)?;
        }
        let wanted = &wanted.taps[&level.teacher];
        let wanted = self.kept[index].as_ref().map_or(Ok(wanted.clone()), |kept| wanted.index_select(kept, 1))?;
        Ok([features, wanted])
    }
}

/// Weights (out, in, k, k) to begin with: random, of a scale that keeps the variance (He et al. 2015).
pub(super) fn initial([from, to]: [usize; 2], kernel: usize, seed: u64) -> candle_core::Result<Tensor> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let reads = from * kernel * kernel;
    let reach = (3.0 / reads as f32).sqrt();
    let weight = (0..to * reads).map(|_| random.random_range(-reach..reach)).collect();
    Tensor::from_vec(weight, (to, from, kernel, kernel), &Device::Cpu)
}
