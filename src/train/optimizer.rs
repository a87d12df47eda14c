//! Optimisers over flat parameters: SGD with Nesterov momentum, and AdamW.

use std::ops::Range;

use espalier_kernels::optim;

use super::parameters::GROUPS;
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

/// An optimiser and its state.
#[derive(Clone, Debug)]
pub(super) struct Optimizer {
    kind: OptimizerKind,
    /// Of each group.
    weight_decay: [f32; GROUPS],
    /// Momentum, or first and second moments: arrays as long as the trained parameters.
    pub state: Vec<Vec<f32>>,
    /// Steps done.
    pub steps: u64,
}

/// The moving average of the weights that a step also updates.
pub(super) struct Average<'a> {
    pub values: &'a mut [f32],
    pub decay: f32,
}

impl Optimizer {
    /// Weight decay applies to the weights alone.
    pub fn new(kind: OptimizerKind, weight_decay: f32, trained: usize) -> Self {
        let buffers = match kind {
            OptimizerKind::Sgd => 1,
            OptimizerKind::AdamW => 2,
        };
        Self { kind, weight_decay: [0.0, weight_decay, 0.0], state: vec![vec![0.0; trained]; buffers], steps: 0 }
    }

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
                    let betas = [rates.momentum, 0.999];
                    let rule =
                        optim::AdamW { lr, betas, eps: 1e-8, weight_decay, gradient_scale: scale, step: self.steps };
                    let [first, second] = &mut self.state[..] else { unreachable!("AdamW has two moments") };
                    let moments = [&mut first[range.clone()], &mut second[range]];
                    optim::adamw(&rule, parameters, gradients, moments, average);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [f32; 4] = [0.5, -1.0, 2.0, 0.25];
    const GRADIENTS: [[f32; 4]; 3] = [[0.1, -0.2, 0.3, 1.0], [0.4, 0.5, -0.6, -1.0], [0.0, 0.1, 0.2, 0.5]];

    fn run(kind: OptimizerKind, lr: f32, momentum: f32, weight_decay: f32) -> Vec<f32> {
        let mut optimizer = Optimizer::new(kind, weight_decay, 4);
        let mut values = START.to_vec();
        // The first number is a bias, the last a normalisation scale: neither decays.
        let rates = Rates { lr: [lr; 3], momentum };
        for gradients in GRADIENTS {
            optimizer.step([0..1, 1..3, 3..4], &mut values, &gradients, 1.0, &rates, None);
        }
        values
    }

    fn close(found: &[f32], expected: &[f32]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found} against {expected}");
        }
    }

    /// Numbers of torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05 for the middle two).
    #[test]
    fn sgd_steps_as_pytorch_does() {
        close(&run(OptimizerKind::Sgd, 0.1, 0.9, 0.05), &[0.35721, -1.045946, 1.94209, 0.0821]);
    }

    /// Numbers of torch.optim.AdamW(lr=0.01, betas=(0.9, 0.999), weight_decay=0.05 for the middle two).
    #[test]
    fn adamw_steps_as_pytorch_does() {
        close(&run(OptimizerKind::AdamW, 0.01, 0.9, 0.05), &[0.47432, -0.9974583, 1.991556, 0.2387791]);
    }

    #[test]
    fn the_average_follows_the_stepped_values() {
        let mut optimizer = Optimizer::new(OptimizerKind::Sgd, 0.0, 1);
        let (mut values, mut average) = (vec![1.0], vec![1.0]);
        let rates = Rates { lr: [0.5; 3], momentum: 0.0 };
        let averaged = Average { values: &mut average, decay: 0.75 };
        optimizer.step([0..0, 0..1, 1..1], &mut values, &[1.0], 1.0, &rates, Some(averaged));
        assert_eq!((values[0], average[0]), (0.5, 0.875));
    }
}
