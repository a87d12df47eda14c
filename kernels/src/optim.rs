//! Optimiser steps over flat parameter storage, one pass over memory each.

use super::{norm, simd};
use rayon::prelude::*;

/// Stochastic gradient descent with momentum, as PyTorch defines it (no dampening).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Share of the last step's direction that is kept.
    pub momentum: f32,
    /// Nesterov's look-ahead (Sutskever et al. 2013).
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// Multiplies the gradient first (clipping, averaging).
    pub gradient_scale: f32,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first and second moments.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Share of the parameter that a step takes away, times the learning rate.
    pub weight_decay: f32,
    /// Multiplies the gradient first (clipping, averaging).
    pub gradient_scale: f32,
    /// Number of this step, from 1 on.
    pub step: u64,
}

/// A moving average of the parameters: average = decay · average + (1 − decay) · parameter, after the step.
#[derive(Debug)]
pub struct Ema<'a> {
    /// The average so far.
    pub average: &'a mut [f32],
    /// Share of it that is kept.
    pub decay: f32,
}

/// Parameters a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// One step; `velocity` is the momentum buffer, zero before the first step.
///
/// # Panics
/// If the slices differ in length.
pub fn sgd(o: &Sgd, parameters: &mut [f32], gradients: &[f32], velocity: &mut [f32], ema: Option<Ema>) {
    assert!(gradients.len() == parameters.len() && velocity.len() == parameters.len(), "lengths");
    let o = *o;
    let work = parameters.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).zip(velocity.par_chunks_mut(CHUNK));
    let (ahead, plain) = if o.nesterov { (o.momentum, 1.0) } else { (1.0, 0.0) };
    with_average(work, ema, |((p, g), v)| {
        simd::dispatch(|| {
            for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
                let g = o.gradient_scale * g + o.weight_decay * *p;
                *v = o.momentum * *v + g;
                *p -= o.lr * (plain * g + ahead * *v);
            }
        });
        p
    });
}

/// One step; `moments` are the first and second moments, zero before the first step.
///
/// # Panics
/// If the slices differ in length.
pub fn adamw(o: &AdamW, parameters: &mut [f32], gradients: &[f32], moments: [&mut [f32]; 2], ema: Option<Ema>) {
    let [first, second] = moments;
    assert!(
        gradients.len() == parameters.len() && first.len() == parameters.len() && second.len() == parameters.len(),
        "lengths"
    );
    let o = *o;
    let steps = i32::try_from(o.step).unwrap_or(i32::MAX);
    let [c1, c2] = o.betas.map(|b| 1.0 - f64::from(b).powi(steps));
    let (rate, root) = ((f64::from(o.lr) / c1) as f32, c2.sqrt() as f32);
    let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
    let work = parameters.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).zip(moments);
    with_average(work, ema, |((p, g), (m, v))| {
        simd::dispatch(|| {
            let [b1, b2] = o.betas;
            for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                let g = o.gradient_scale * g;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *p = *p * (1.0 - o.lr * o.weight_decay) - rate * *m / (v.sqrt() / root + o.eps);
            }
        });
        p
    });
}

/// Σ x², in blocks of single precision added up in double precision (for the norm of the gradient).
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x.par_chunks(1 << 12).map(norm::squares).collect();
    parts.iter().sum()
}

/// Moves an average towards parameters that were not stepped here (running statistics, for example).
///
/// # Panics
/// If the slices differ in length.
pub fn update_average(ema: Ema, parameters: &[f32]) {
    assert_eq!(ema.average.len(), parameters.len(), "lengths");
    let decay = ema.decay;
    ema.average.par_chunks_mut(CHUNK).zip(parameters.par_chunks(CHUNK)).for_each(|(a, p)| average(a, p, decay));
}

/// Runs `step` on every chunk, then averages the parameters that it gives back.
fn with_average<'p, I, T, F>(work: I, ema: Option<Ema>, step: F)
where
    I: IndexedParallelIterator<Item = T>,
    T: Send,
    F: Fn(T) -> &'p mut [f32] + Sync + Send,
{
    match ema {
        None => work.for_each(|chunk| {
            step(chunk);
        }),
        Some(Ema { average: a, decay }) => {
            assert_eq!(a.len().div_ceil(CHUNK), work.len(), "an average for each parameter");
            work.zip(a.par_chunks_mut(CHUNK)).for_each(|(chunk, a)| average(a, step(chunk), decay));
        }
    }
}

fn average(a: &mut [f32], p: &[f32], decay: f32) {
    assert_eq!(a.len(), p.len(), "an average for each parameter");
    simd::dispatch(|| a.iter_mut().zip(p).for_each(|(a, p)| *a = decay * *a + (1.0 - decay) * p));
}
