//! Optimisers over flat arrays of parameters, on the CPU or on a device: SGD with Nesterov momentum, and AdamW.

use std::ops::Range;

use candle_core::Tensor;
use espalier_kernels::optim;

use super::layout::GROUPS;
use crate::options::option_names;

/// Which optimiser trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptimizerKind {
    /// Stochastic gradient descent with Nesterov momentum, as PyTorch's SGD.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019); the momentum is its β₁, β₂ is 0.999.
    AdamW,
}
option_names!(OptimizerKind, "optimizer": Sgd = "sgd", AdamW = "adamw");

/// What one step uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rates of biases, weights and normalisation scales: `lr/pg0` to `lr/pg2` in `results.csv`.
    pub lr: [f32; 3],
    /// Momentum, or β₁.
    pub momentum: f32,
}

/// An optimiser and its state: arrays as long as the trained parameters, on the CPU or on a device.
#[derive(Clone, Debug)]
pub(super) struct Optimizer<Array> {
    kind: OptimizerKind,
    /// Of each group.
    weight_decay: [f32; GROUPS],
    /// Momentum, or first and second moments.
    pub state: Vec<Array>,
    /// Steps done.
    pub steps: u64,
}

/// The second moment's β₂ and the number added to its root, in AdamW.
const BETA_2: f32 = 0.999;
const EPS: f32 = 1e-8;

/// The moving average of the weights that a step also updates.
pub(super) struct Average<'a> {
    pub values: &'a mut [f32],
    pub decay: f32,
}

impl<Array: Clone> Optimizer<Array> {
    /// Begins with zeros. Weight decay applies to the weights alone.
    pub fn new(kind: OptimizerKind, weight_decay: f32, zeros: Array) -> Self {
        let buffers = match kind {
            OptimizerKind::Sgd => 1,
            OptimizerKind::AdamW => 2,
        };
        Self { kind, weight_decay: [0.0, weight_decay, 0.0], state: vec![zeros; buffers], steps: 0 }
    }
}

impl Optimizer<Vec<f32>> {
    /// One step of the parameters against gradients times `scale`.
    pub fn step(
        &mut self,
        groups: [Range<usize>; GROUPS],
        values: &mut [f32],
        gradients: &[f32],
        scale: f32,
        rates: &Rates,
        mut average: Option<Average<'_>>,
    ) {
        self.steps += 1;
        for (group, range) in groups.into_iter().enumerate() {
            let parameters = &mut values[range.clone()];
            let gradients = &gradients[range.clone()];
            let average = average
                .as_mut()
                .map(|average| optim::Ema { average: &mut average.values[range.clone()], decay: average.decay });
            let (lr, weight_decay) = (rates.lr[group], self.weight_decay[group]);
            match self.kind {
                OptimizerKind::Sgd => {
                    let rule = optim::Sgd {
                        lr,
                        momentum: rates.momentum,
                        nesterov: true,
                        weight_decay,
                        gradient_scale: scale,
                    };
                    optim::sgd(&rule, parameters, gradients, &mut self.state[0][range], average);
                }
                OptimizerKind::AdamW => {
                    let betas = [rates.momentum, BETA_2];
                    let rule =
                        optim::AdamW { lr, betas, eps: EPS, weight_decay, gradient_scale: scale, step: self.steps };
                    let [first, second] = &mut self.state[..] else { unreachable!("AdamW has two moments") };
                    let moments = [&mut first[range.clone()], &mut second[range]];
                    optim::adamw(&rule, parameters, gradients, moments, average);
                }
            }
        }
    }
}

impl Optimizer<Tensor> {
    /// One step on the device: gives the parameters moved against gradients times `scale`.
    pub fn step(
        &mut self,
        groups: [Range<usize>; GROUPS],
        values: &Tensor,
        gradients: &Tensor,
        scale: f32,
        rates: &Rates,
    ) -> candle_core::Result<Tensor> {
        self.steps += 1;
        let mut moved = Vec::with_capacity(GROUPS);
        let mut states = vec![Vec::with_capacity(GROUPS); self.state.len()];
        for (group, range) in groups.into_iter().enumerate().filter(|(_, range)| !range.is_empty()) {
            let part = |array: &Tensor| array.narrow(0, range.start, range.len());
            let (parameters, gradients) = (part(values)?, (part(gradients)? * f64::from(scale))?);
            let state = self.state.iter().map(part).collect::<candle_core::Result<Vec<_>>>()?;
            let (parameters, state) = match self.kind {
                OptimizerKind::Sgd => self.sgd(group, rates, &parameters, &gradients, &state)?,
                OptimizerKind::AdamW => self.adamw(group, rates, &parameters, &gradients, &state)?,
            };
            moved.push(parameters);
            states.iter_mut().zip(state).for_each(|(all, part)| all.push(part));
        }
        self.state = states.iter().map(|parts| Tensor::cat(parts, 0)).collect::<candle_core::Result<_>>()?;
        Tensor::cat(&moved, 0)
    }

    /// As [`optim::sgd`] with Nesterov's look-ahead.
    fn sgd(
        &self,
        group: usize,
        rates: &Rates,
        p: &Tensor,
        g: &Tensor,
        state: &[Tensor],
    ) -> candle_core::Result<Stepped> {
        let (lr, momentum) = (f64::from(rates.lr[group]), f64::from(rates.momentum));
        let g = (g + (p * f64::from(self.weight_decay[group]))?)?;
        let velocity = ((&state[0] * momentum)? + &g)?;
        let p = (p - ((g + (&velocity * momentum)?)? * lr)?)?;
        Ok((p, vec![velocity]))
    }

    /// As [`optim::adamw`].
    fn adamw(
        &self,
        group: usize,
        rates: &Rates,
        p: &Tensor,
        g: &Tensor,
        state: &[Tensor],
    ) -> candle_core::Result<Stepped> {
        let [lr, beta_1, beta_2] = [rates.lr[group], rates.momentum, BETA_2].map(f64::from);
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let [c1, c2] = [beta_1, beta_2].map(|beta| 1.0 - beta.powi(steps));
        let first = ((&state[0] * beta_1)? + (g * (1.0 - beta_1))?)?;
        let second = ((&state[1] * beta_2)? + (g.sqr()? * (1.0 - beta_2))?)?;
        let change = ((&first * (lr / c1))? / ((second.sqrt()? / c2.sqrt())? + f64::from(EPS))?)?;
        let p = ((p * (1.0 - lr * f64::from(self.weight_decay[group])))? - change)?;
        Ok((p, vec![first, second]))
    }
}

/// Parameters after a step, and the state.
type Stepped = (Tensor, Vec<Tensor>);

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const START: [f32; 4] = [0.5, -1.0, 2.0, 0.25];
    const GRADIENTS: [[f32; 4]; 3] = [[0.1, -0.2, 0.3, 1.0], [0.4, 0.5, -0.6, -1.0], [0.0, 0.1, 0.2, 0.5]];

    fn run(kind: OptimizerKind, lr: f32, momentum: f32, weight_decay: f32, expected: &[f32]) {
        // The first number is a bias, the last a normalisation scale: neither decays.
        let (groups, rates) = (|| [0..1, 1..3, 3..4], Rates { lr: [lr; 3], momentum });
        let mut optimizer = Optimizer::new(kind, weight_decay, vec![0.0; 4]);
        let mut values = START.to_vec();
        for gradients in GRADIENTS {
            optimizer.step(groups(), &mut values, &gradients, 1.0, &rates, None);
        }
        close(&values, expected);
        let tensor = |numbers: [f32; 4]| Tensor::new(&numbers, &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(kind, weight_decay, tensor([0.0; 4]));
        let mut values = tensor(START);
        for gradients in GRADIENTS {
            values = optimizer.step(groups(), &values, &tensor(gradients.map(|g| 2.0 * g)), 0.5, &rates).unwrap();
        }
        close(&values.to_vec1::<f32>().unwrap(), expected);
    }

    fn close(found: &[f32], expected: &[f32]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found} against {expected}");
        }
    }

    /// Numbers of torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05 for the middle two).
    #[test]
    fn sgd_steps_as_pytorch_does() {
        run(OptimizerKind::Sgd, 0.1, 0.9, 0.05, &[0.35721, -1.045946, 1.94209, 0.0821]);
    }

    /// Numbers of torch.optim.AdamW(lr=0.01, betas=(0.9, 0.999), weight_decay=0.05 for the middle two).
    #[test]
    fn adamw_steps_as_pytorch_does() {
        run(OptimizerKind::AdamW, 0.01, 0.9, 0.05, &[0.47432, -0.9974583, 1.991556, 0.2387791]);
    }

    #[test]
    fn the_average_follows_the_stepped_values() {
        let mut optimizer = Optimizer::new(OptimizerKind::Sgd, 0.0, vec![0.0]);
        let (mut values, mut average) = (vec![1.0], vec![1.0]);
        let rates = Rates { lr: [0.5; 3], momentum: 0.0 };
        let averaged = Average { values: &mut average, decay: 0.75 };
        optimizer.step([0..0, 0..1, 1..1], &mut values, &[1.0], 1.0, &rates, Some(averaged));
        assert_eq!((values[0], average[0]), (0.5, 0.875));
    }
}
