//! Terms written in candle's operations, differentiated by candle.

use std::cell::RefCell;

use candle_core::{Tensor, Var};
use serde_json::Value;

use super::term::{Leaf, LossGradients, Term, TermError, TermInput};
use crate::{exec::transfer, graph::NodeId, model::Tensors};

/// A term that is a function of the student's values, its own tensors and the student's, in candle's operations.
///
/// The function gives the term's weighted value for a mean image, as a tensor of one number. Its gradients come from
/// candle's backward pass, with respect to whatever the function has read from [`Leaves`].
///
/// ```
/// use espalier::train::Autograd;
///
/// /// A penalty on loud outputs.
/// let quiet = Autograd::new("quiet", |leaves| Ok((leaves.output(0)?.sqr()?.mean_all()? * 0.1)?));
/// ```
pub struct Autograd<F> {
    name: String,
    settings: Value,
    taps: Vec<NodeId>,
    tensors: Tensors,
    function: F,
}

impl<F> Autograd<F>
where
    F: Fn(&Leaves<'_>) -> Result<Tensor, TermError> + Send + Sync,
{
    /// The term that a function computes; `name` is its column in `results.csv`.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { name: name.into(), settings: Value::Null, taps: Vec::new(), tensors: Tensors::new(), function }
    }

    /// The student's nodes whose outputs the function reads.
    pub fn taps(mut self, taps: &[NodeId]) -> Self {
        self.taps = taps.to_vec();
        self
    }

    /// Tensors of its own, which are trained along; their names are used by nobody else.
    pub fn tensors(mut self, tensors: Tensors) -> Self {
        self.tensors = tensors;
        self
    }

    /// What a resumed run must have again; see [`Term::settings`].
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }
}

impl<F> Term for Autograd<F>
where
    F: Fn(&Leaves<'_>) -> Result<Tensor, TermError> + Send + Sync,
{
    fn part_names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn taps(&self) -> Vec<NodeId> {
        self.taps.clone()
    }

    fn tensors(&self) -> Result<Tensors, TermError> {
        Ok(self.tensors.clone())
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let leaves = Leaves { input, read: RefCell::default() };
        let value = (self.function)(&leaves)?;
        let store = (&value * input.batch() as f64)?.backward()?;
        for (leaf, variable) in leaves.read.into_inner() {
            let Some(gradient) = store.get(&variable).map(Tensor::detach) else { continue };
            gradients.add(leaf, gradient)?;
        }
        Ok(vec![f64::from(transfer::down_number(&value)?)])
    }
}

/// What a function of [`Autograd`] can be differentiated with respect to. Whatever is read here is a variable of candle's
/// autograd; what is read from [`Leaves::input`] is constant.
pub struct Leaves<'a> {
    input: &'a TermInput<'a>,
    read: RefCell<Vec<(Leaf, Var)>>,
}

impl<'a> Leaves<'a> {
    /// The whole batch, without gradients: images, targets, progress, other models.
    pub fn input(&self) -> &'a TermInput<'a> {
        self.input
    }

    /// One of the student's outputs.
    ///
    /// # Errors
    /// Where there are fewer.
    pub fn output(&self, index: usize) -> Result<Tensor, TermError> {
        let found = self.input.values.outputs.get(index);
        self.leaf(Leaf::Output(index), found.ok_or_else(|| format!("the model has no output {index}"))?)
    }

    /// The output of a tapped node.
    ///
    /// # Errors
    /// Where the term did not ask for that tap.
    pub fn tap(&self, node: NodeId) -> Result<Tensor, TermError> {
        let found = self.input.values.taps.get(&node);
        self.leaf(Leaf::Tap(node), found.ok_or_else(|| format!("node {node} is no tap of the term"))?)
    }

    /// A tensor of the term's own, or a trained one of the student's, by name.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, TermError> {
        let found = self.input.tensors.get(name).or_else(|| self.input.student.tensors().get(name));
        self.leaf(Leaf::Tensor(name.into()), found.ok_or_else(|| format!("there is no tensor `{name}`"))?)
    }

    fn leaf(&self, leaf: Leaf, value: &Tensor) -> Result<Tensor, TermError> {
        let mut read = self.read.borrow_mut();
        if let Some((_, variable)) = read.iter().find(|(known, _)| *known == leaf) {
            return Ok(variable.as_tensor().clone());
        }
        let variable = Var::from_tensor(&value.detach())?;
        let tensor = variable.as_tensor().clone();
        read.push((leaf, variable));
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{exec, model::fixtures::tiny_detector};

    /// One term that reads an output, a tap, a tensor of its own and one of the student's; each gradient by hand.
    #[test]
    fn every_leaf_gets_its_gradient() {
        let model = tiny_detector(2);
        let name = model.tensors().keys().find(|name| name.ends_with("weight")).unwrap().clone();
        let pixels = (0..2 * 3 * 64 * 64).map(|index| (index as f32 * 0.37).sin()).collect();
        let images = Tensor::from_vec(pixels, (2, 3, 64, 64), &Device::Cpu).unwrap();
        let values = exec::infer(&model, &images, &[1]).unwrap();
        let own = Tensors::from([("own".to_string(), Tensor::new(&[3f32, -2.0], &Device::Cpu).unwrap())]);
        let asked = name.clone();
        let term = Autograd::new("sum", move |leaves| {
            let output = leaves.output(0)?.sum_all()?;
            let tap = (leaves.tap(1)?.sqr()?.sum_all()? * 0.5)?;
            let own = leaves.tensor("own")?.sqr()?.sum_all()?;
            let weight = (leaves.tensor(&asked)?.sum_all()? * 3.0)?;
            Ok((((output + tap)? + own)? + weight)?)
        });
        let term = term.taps(&[1]).tensors(own.clone());
        let input = TermInput::new(&images, &[], &model, &values, &own, 0.0);
        let mut gradients = LossGradients::none(values.outputs.len());
        let found = term.compute(&input, &mut gradients).unwrap();
        let scalar = |tensor: Tensor| f64::from(tensor.to_scalar::<f32>().unwrap());
        let expected = scalar(values.outputs[0].sum_all().unwrap())
            + 0.5 * scalar(values.taps[&1].sqr().unwrap().sum_all().unwrap())
            + 13.0
            + 3.0 * scalar(model.tensors()[&name].sum_all().unwrap());
        assert!((found[0] - expected).abs() < 1e-3 * expected.abs(), "{found:?} against {expected}");
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // Times the two images of the batch.
        assert!(flat(gradients.values.outputs[0].as_ref().unwrap()).iter().all(|&gradient| gradient == 2.0));
        assert!(gradients.values.outputs[1..].iter().all(Option::is_none));
        let of_tap: Vec<f32> = flat(&values.taps[&1]).iter().map(|value| 2.0 * value).collect();
        assert_eq!(flat(&gradients.values.taps[&1]), of_tap);
        assert_eq!(flat(&gradients.tensors["own"]), [12.0, -8.0]);
        assert!(flat(&gradients.tensors[&name]).iter().all(|&gradient| gradient == 6.0));
        // What another term adds is summed.
        term.compute(&input, &mut gradients).unwrap();
        assert_eq!(flat(&gradients.tensors["own"]), [24.0, -16.0]);
    }
}
