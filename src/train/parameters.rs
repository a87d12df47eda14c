//! The parameters of a model in training, wherever they lie.

use std::{borrow::Cow, fmt};

use candle_core::Result;

use super::{layout::Layout, optimizer::Rates, schedule::Decay};
use crate::model::Tensors;

/// Every tensor of a model and of the terms, the average of the trained ones, and the optimiser's state.
pub(super) trait Parameters: fmt::Debug + Send + Sync {
    /// How the tensors lie in the arrays.
    fn layout(&self) -> &Layout;

    /// The model's tensors and the terms' own, as they are now. They do not change with later steps.
    fn tensors(&self) -> Result<(Tensors, Tensors)>;

    /// The model's averaged tensors, where an average is kept.
    fn averaged(&self) -> Result<Option<Tensors>>;

    /// Clipping, optimiser, masks, average. Gives the gradient's global norm before clipping; where that is not finite,
    /// nothing changes.
    fn update(&mut self, update: &Update<'_>) -> Result<f64>;

    /// Overwrites some of the trained tensors, by name; masked weights stay zero.
    fn overwrite(&mut self, tensors: &Tensors) -> Result<()>;

    /// Overwrites some of the trained tensors as if the last step of the optimiser had given that: their average follows
    /// at once, and is zero wherever they are.
    fn step_to(&mut self, tensors: &Tensors, decay: Decay) -> Result<()>;

    /// All arrays, on the CPU.
    fn arrays(&self) -> Result<Arrays<'_>>;

    /// Goes on from arrays of the same lengths as [`Parameters::arrays`] has.
    fn restore(&mut self, arrays: Arrays<'_>) -> Result<()>;
}

/// What moves the parameters in a step.
pub(super) struct Update<'a> {
    /// Gradients by tensor name, which are added; what has none stays where the optimiser's state leaves it.
    pub gradients: [&'a Tensors; 2],
    /// Running averages after the batch, by tensor name.
    pub running: &'a Tensors,
    /// The global norm to which the gradient is clipped, or 0.
    pub clip: f32,
    pub rates: &'a Rates,
    pub decay: Decay,
}

impl Update<'_> {
    /// What the gradient is multiplied by, given its norm.
    pub fn scale(&self, norm: f64) -> f32 {
        match self.clip > 0.0 && norm > f64::from(self.clip) {
            true => (f64::from(self.clip) / norm) as f32,
            false => 1.0,
        }
    }
}

/// What a checkpoint keeps of parameters, the same wherever they lie.
pub(super) struct Arrays<'a> {
    /// Trained tensors by group, then running averages.
    pub values: Cow<'a, [f32]>,
    /// Their average.
    pub average: Option<Cow<'a, [f32]>>,
    /// Momentum, or first and second moments, of the trained tensors.
    pub state: Vec<Cow<'a, [f32]>>,
    /// Steps of the optimiser.
    pub steps: u64,
}

impl Arrays<'_> {
    /// Lengths of the arrays.
    pub fn lengths(&self) -> (usize, Option<usize>, Vec<usize>) {
        let state = self.state.iter().map(|state| state.len()).collect();
        (self.values.len(), self.average.as_ref().map(|average| average.len()), state)
    }
}
