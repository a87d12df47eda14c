//! Parameters that stay on the device for a whole run: clipping, optimiser, masks, averages and running statistics are
//! candle operations on a few long arrays there. Of a step one number comes down, the gradient's norm.

use std::{borrow::Cow, ops::Range};

use candle_core::{DType, Result, Tensor};

use super::{
    layout::Layout,
    optimizer::Optimizer,
    options::FitOptions,
    parameters::{Arrays, Parameters, Update},
    schedule::Decay,
};
use crate::{
    exec::transfer,
    model::{Model, Tensors},
};

/// Arrays on the device, each of one dimension, laid out as [`Flat`](super::flat::Flat)'s. An array is never written: a
/// step makes others, so tensors that were given out as views stay what they are.
#[derive(Debug)]
pub(super) struct Resident {
    layout: Layout,
    values: Tensor,
    average: Option<Tensor>,
    optimizer: Optimizer<Tensor>,
    mask: Option<Tensor>,
}

impl Resident {
    /// The tensors of a model and of terms; what the model's masks hold at zero is zero.
    pub fn new(layout: Layout, model: &Model, extra: &Tensors, options: &FitOptions) -> Result<Self> {
        let (device, trained) = (layout.device().clone(), layout.trained());
        let extra: Tensors = extra.keys().cloned().zip(transfer::up(extra.values(), &device)?).collect();
        let find = |name: &str| Ok(model.tensors().get(name).or_else(|| extra.get(name)).cloned());
        let missing = |_| candle_core::bail!("a tensor of the layout is not there");
        let values = Tensor::cat(&layout.pieces(0..layout.len(), find, missing)?, 0)?;
        let mask = match model.masks().is_empty() {
            true => None,
            false => {
                let find = |name: &str| Ok(model.masks().get(name).cloned());
                let ones = |place: Range<usize>| Tensor::ones(place.len(), DType::F32, &device);
                Some(Tensor::cat(&layout.pieces(0..trained, find, ones)?, 0)?)
            }
        };
        let zeros = Tensor::zeros(trained, DType::F32, &device)?;
        Ok(Self {
            average: options.ema.then(|| values.clone()),
            values,
            optimizer: Optimizer::new(options.optimizer, options.weight_decay, zeros),
            mask,
            layout,
        })
    }

    /// All gradients as one array; zero where there is none.
    fn collect(&self, [reached, own]: [&Tensors; 2]) -> Result<Tensor> {
        let find = |name: &str| match (reached.get(name), own.get(name)) {
            (Some(a), Some(b)) => Ok(Some((a + b)?)),
            (one, other) => Ok(one.or(other).cloned()),
        };
        let zeros = |place: Range<usize>| Tensor::zeros(place.len(), DType::F32, self.layout.device());
        Tensor::cat(&self.layout.pieces(0..self.layout.trained(), find, zeros)?, 0)
    }
}

impl Parameters for Resident {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn tensors(&self) -> Result<(Tensors, Tensors)> {
        self.layout.views(&self.values)
    }

    fn averaged(&self) -> Result<Option<Tensors>> {
        self.average.as_ref().map(|average| Ok(self.layout.views(average)?.0)).transpose()
    }

    fn update(&mut self, update: &Update<'_>) -> Result<f64> {
        let gradients = self.collect(update.gradients)?;
        let norm = f64::from(transfer::down_number(&gradients.sqr()?.sum_all()?)?).sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let (trained, all) = (self.layout.trained(), self.layout.len());
        let decay = f64::from(update.decay.at(self.optimizer.steps + 1));
        let before = self.values.narrow(0, 0, trained)?;
        let mut stepped =
            self.optimizer.step(self.layout.groups(), &before, &gradients, update.scale(norm), update.rates)?;
        if let Some(mask) = &self.mask {
            stepped = (stepped * mask)?;
        }
        let running = |name: &str| Ok(update.running.get(name).cloned());
        let unchanged = |place: Range<usize>| self.values.narrow(0, place.start, place.len());
        let mut parts = vec![stepped];
        parts.extend(self.layout.pieces(trained..all, running, unchanged)?);
        self.values = Tensor::cat(&parts, 0)?;
        if let Some(average) = &mut self.average {
            *average = ((&*average * decay)? + (&self.values * (1.0 - decay))?)?;
        }
        Ok(norm)
    }

    fn overwrite(&mut self, tensors: &Tensors) -> Result<()> {
        let (trained, all) = (self.layout.trained(), self.layout.len());
        let up: Tensors = tensors.keys().cloned().zip(transfer::up(tensors.values(), self.layout.device())?).collect();
        let before = |place: Range<usize>| self.values.narrow(0, place.start, place.len());
        let mut changed = Tensor::cat(&self.layout.pieces(0..trained, |name| Ok(up.get(name).cloned()), before)?, 0)?;
        if let Some(mask) = &self.mask {
            changed = (changed * mask)?;
        }
        self.values = Tensor::cat(&[changed, self.values.narrow(0, trained, all - trained)?], 0)?;
        Ok(())
    }

    fn step_to(&mut self, tensors: &Tensors, decay: Decay) -> Result<()> {
        let before = self.values.clone();
        self.overwrite(tensors)?;
        let share = f64::from(1.0 - decay.at(self.optimizer.steps));
        let Some(average) = &self.average else { return Ok(()) };
        let followed = |name: &str| {
            let Some(place) = self.layout.place(name).filter(|_| tensors.contains_key(name)) else { return Ok(None) };
            let part = |array: &Tensor| array.narrow(0, place.start, place.len());
            let (now, moved) = (part(&self.values)?, (part(&self.values)? - part(&before)?)?);
            let followed = (part(average)? + (moved * share)?)?.mul(&now.ne(0f32)?.to_dtype(DType::F32)?)?;
            followed.reshape(tensors[name].dims()).map(Some)
        };
        let others = |place: Range<usize>| average.narrow(0, place.start, place.len());
        self.average = Some(Tensor::cat(&self.layout.pieces(0..self.layout.len(), followed, others)?, 0)?);
        Ok(())
    }

    fn arrays(&self) -> Result<Arrays<'_>> {
        let average = self.average.iter();
        let all = transfer::down([&self.values].into_iter().chain(average).chain(&self.optimizer.state))?;
        let mut all = all.iter().map(|array| Ok(Cow::from(array.to_vec1::<f32>()?)));
        let mut next = || all.next().unwrap_or_else(|| candle_core::bail!("an array was lost on its way down"));
        Ok(Arrays {
            values: next()?,
            average: self.average.as_ref().map(|_| next()).transpose()?,
            state: self.optimizer.state.iter().map(|_| next()).collect::<Result<_>>()?,
            steps: self.optimizer.steps,
        })
    }

    fn restore(&mut self, arrays: Arrays<'_>) -> Result<()> {
        let device = self.layout.device();
        let array = |numbers: &[f32]| Tensor::from_slice(numbers, numbers.len(), device);
        self.values = array(&arrays.values)?;
        self.average = arrays.average.as_deref().map(array).transpose()?;
        self.optimizer.state = arrays.state.iter().map(|state| array(state)).collect::<Result<_>>()?;
        self.optimizer.steps = arrays.steps;
        Ok(())
    }
}
