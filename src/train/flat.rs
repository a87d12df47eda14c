//! Parameters as flat arrays on the CPU, so that a step touches memory once.

use std::borrow::Cow;

use candle_core::Result;
use espalier_kernels::optim;

use super::{
    layout::Layout,
    optimizer::{Average, Optimizer},
    options::FitOptions,
    parameters::{Arrays, Parameters, Update},
    schedule::Decay,
};
use crate::model::{Model, Tensors};

/// Flat arrays on the CPU.
#[derive(Debug)]
pub(super) struct Flat {
    layout: Layout,
    values: Vec<f32>,
    average: Option<Vec<f32>>,
    optimizer: Optimizer<Vec<f32>>,
    gradients: Vec<f32>,
    mask: Option<Vec<f32>>,
}

impl Flat {
    /// The tensors of a model and of terms; what the model's masks hold at zero is zero.
    pub fn new(layout: Layout, model: &Model, extra: &Tensors, options: &FitOptions) -> Result<Self> {
        let (trained, mut values) = (layout.trained(), vec![0.0; layout.len()]);
        layout.gather(|name| model.tensors().get(name).or_else(|| extra.get(name)), &mut values, false)?;
        let mask = match model.masks().is_empty() {
            true => None,
            false => {
                let mut mask = vec![1.0; trained];
                layout.gather(|name| model.masks().get(name), &mut mask, false)?;
                Some(mask)
            }
        };
        Ok(Self {
            average: options.ema.then(|| values.clone()),
            values,
            optimizer: Optimizer::new(options.optimizer, options.weight_decay, vec![0.0; trained]),
            gradients: vec![0.0; trained],
            layout,
            mask,
        })
    }

    /// Puts all gradients in the flat array; zero where there is none.
    fn collect(&mut self, gradients: [&Tensors; 2]) -> Result<()> {
        self.gradients.fill(0.0);
        for (tensors, add) in gradients.into_iter().zip([false, true]).filter(|(tensors, _)| !tensors.is_empty()) {
            self.layout.gather(|name| tensors.get(name), &mut self.gradients, add)?;
        }
        Ok(())
    }
}

impl Parameters for Flat {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn tensors(&self) -> Result<(Tensors, Tensors)> {
        self.layout.scatter(&self.values)
    }

    fn averaged(&self) -> Result<Option<Tensors>> {
        self.average.as_ref().map(|average| Ok(self.layout.scatter(average)?.0)).transpose()
    }

    fn update(&mut self, update: &Update<'_>) -> Result<f64> {
        self.collect(update.gradients)?;
        let norm = optim::sum_of_squares(&self.gradients).sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let (scale, rates, groups) = (update.scale(norm), update.rates, self.layout.groups());
        self.layout.gather(|name| update.running.get(name), &mut self.values, false)?;
        let decay = update.decay.at(self.optimizer.steps + 1);
        let (values, buffers) = self.values.split_at_mut(self.layout.trained());
        let (average, averaged_buffers) = match &mut self.average {
            Some(average) => {
                let (average, buffers) = average.split_at_mut(self.layout.trained());
                (Some(Average { values: average, decay }), Some(buffers))
            }
            None => (None, None),
        };
        // With a mask the average follows after it is applied, so that it too keeps its zeros.
        match &self.mask {
            None => self.optimizer.step(groups, values, &self.gradients, scale, rates, average),
            Some(mask) => {
                self.optimizer.step(groups, values, &self.gradients, scale, rates, None);
                values.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask);
                if let Some(average) = average {
                    optim::update_average(optim::Ema { average: average.values, decay }, values);
                }
            }
        }
        if let Some(average) = averaged_buffers {
            optim::update_average(optim::Ema { average, decay }, buffers);
        }
        Ok(norm)
    }

    fn overwrite(&mut self, tensors: &Tensors) -> Result<()> {
        self.layout.gather(|name| tensors.get(name), &mut self.values, false)?;
        if let Some(mask) = &self.mask {
            self.values.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask);
        }
        Ok(())
    }

    fn step_to(&mut self, tensors: &Tensors, decay: Decay) -> Result<()> {
        let before = self.values[..self.layout.trained()].to_vec();
        self.overwrite(tensors)?;
        let share = 1.0 - decay.at(self.optimizer.steps);
        let Some(average) = &mut self.average else { return Ok(()) };
        for place in tensors.keys().filter_map(|name| self.layout.place(name)) {
            let moved = self.values[place.clone()].iter().zip(&before[place.clone()]);
            for (average, (&now, &before)) in average[place].iter_mut().zip(moved) {
                *average = if now == 0.0 { 0.0 } else { *average + share * (now - before) };
            }
        }
        Ok(())
    }

    fn arrays(&self) -> Result<Arrays<'_>> {
        Ok(Arrays {
            values: Cow::from(&self.values),
            average: self.average.as_ref().map(Cow::from),
            state: self.optimizer.state.iter().map(Cow::from).collect(),
            steps: self.optimizer.steps,
        })
    }

    fn restore(&mut self, arrays: Arrays<'_>) -> Result<()> {
        self.values = arrays.values.into_owned();
        self.average = arrays.average.map(Cow::into_owned);
        self.optimizer.state = arrays.state.into_iter().map(Cow::into_owned).collect();
        self.optimizer.steps = arrays.steps;
        Ok(())
    }
}
