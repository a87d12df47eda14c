//! Masks: weights that are held at zero.

use candle_core::{DType, Tensor};

use super::{
    error::ModelError,
    statistics::NEAR_ZERO,
    value::{Model, Tensors},
};
use crate::graph::{Parameter, Role};

impl Model {
    /// Which weights are held at zero: for some of the trained tensors a mask of the same shape, 0 where a weight is held
    /// and 1 elsewhere. The tensors themselves are zero there.
    pub fn masks(&self) -> &Tensors {
        &self.masks
    }

    /// The same model whose weights are held at zero where a mask (0 or 1, by tensor name, of the tensor's shape) is 0.
    /// Masks that it had are replaced.
    ///
    /// # Errors
    /// Names a mask that fits no trained tensor, or that holds other numbers.
    pub fn with_masks(&self, masks: Tensors) -> Result<Self, ModelError> {
        let device = self.device();
        let mut kept = Tensors::new();
        for (name, mask) in masks {
            let trained =
                |(_, owned, parameter): &(_, String, Parameter)| *owned == name && parameter.role.is_trainable();
            let tensor = self.tensors.get(&name).filter(|_| self.graph.parameters().any(|owned| trained(&owned)));
            if tensor.is_none_or(|tensor| tensor.dims() != mask.dims()) {
                let tensor = tensor.map(|tensor| tensor.dims().to_vec());
                return Err(ModelError::Mask { name, mask: mask.dims().to_vec(), tensor });
            }
            let mask = mask.to_device(&device)?.to_dtype(DType::F32)?.contiguous()?;
            // x² = x holds for 0 and 1 alone.
            if mask.sqr()?.ne(&mask)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()? != 0.0 {
                return Err(ModelError::MaskValues { name });
            }
            kept.insert(name, mask);
        }
        Self { masks: kept, ..self.clone() }.with_tensors(self.tensors.clone())
    }

    /// Tensors with zeros where the masks hold them.
    pub(super) fn masked(&self, mut tensors: Tensors) -> Result<Tensors, ModelError> {
        for (name, mask) in &self.masks {
            if let Some(tensor) = tensors.get_mut(name) {
                *tensor = tensor.mul(mask)?;
            }
        }
        Ok(tensors)
    }

    /// The share of the convolutions' weights that are exactly zero, whether held there by a mask or by chance.
    ///
    /// # Errors
    /// Where tensors cannot be read.
    pub fn sparsity(&self) -> Result<f64, ModelError> {
        self.share_of_weights(zeros_in)
    }

    /// The share of the convolutions' weights that are nearly zero: below [`NEAR_ZERO`] in magnitude.
    ///
    /// # Errors
    /// Where tensors cannot be read.
    pub fn near_zeros(&self) -> Result<f64, ModelError> {
        let below = |tensor: &Tensor| ones_in(&tensor.abs()?.lt(NEAR_ZERO)?);
        self.share_of_weights(below)
    }

    fn share_of_weights(&self, count: impl Fn(&Tensor) -> Result<f64, ModelError>) -> Result<f64, ModelError> {
        let (mut found, mut all) = (0.0, 0usize);
        for (_, name, _) in self.graph.parameters().filter(|(_, _, parameter)| parameter.role == Role::Weight) {
            let tensor = &self.tensors[&name];
            found += count(tensor)?;
            all += tensor.elem_count();
        }
        Ok(found / all.max(1) as f64)
    }

    /// The share of a tensor that its mask holds at zero, if it has one.
    pub(super) fn masked_share(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let share = |mask: &Tensor| Ok(zeros_in(mask)? / mask.elem_count().max(1) as f64);
        self.masks.get(name).map(share).transpose()
    }
}

/// How many of a tensor's numbers are zero.
fn zeros_in(tensor: &Tensor) -> Result<f64, ModelError> {
    ones_in(&tensor.eq(0f32)?)
}

/// How many ones a tensor of zeros and ones has.
fn ones_in(tensor: &Tensor) -> Result<f64, ModelError> {
    Ok(tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::fixtures::tiny_detector;

    /// A tiny detector and a mask that holds every other number of its first weight.
    fn half() -> (Model, Tensors) {
        let model = tiny_detector(2);
        let shape = model.tensors()["model.0.conv.weight"].dims().to_vec();
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 2) as f32).collect();
        let mask = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        (model, Tensors::from([("model.0.conv.weight".to_owned(), mask)]))
    }

    #[test]
    fn masked_weights_are_zero_and_stay_so() {
        let (model, masks) = half();
        let masked = model.with_masks(masks).unwrap();
        let weights = model.tensors()["model.0.conv.weight"].elem_count() as f64;
        let all = weights + model.tensors()["model.1.m.0.weight"].elem_count() as f64;
        let held = (0.5 * weights).ceil();
        assert!(masked.sparsity().unwrap() * all >= held);
        // Whatever tensors it is given, to another device, under another name.
        let again = masked.with_tensors(model.tensors().clone()).unwrap();
        let moved = again.to_device(&Device::Cpu).unwrap().with_name("other");
        assert_eq!(moved.masks().len(), 1);
        assert_eq!(moved.sparsity().unwrap(), masked.sparsity().unwrap());
        assert!(model.sparsity().unwrap() < masked.sparsity().unwrap());
        // Every zero is nearly zero too.
        assert!(masked.near_zeros().unwrap() >= masked.sparsity().unwrap() && masked.near_zeros().unwrap() < 1.0);
    }

    #[test]
    fn masks_that_fit_nothing_are_named() {
        let (model, masks) = half();
        let mask = masks["model.0.conv.weight"].clone();
        let error = |name: &str, mask: Tensor| {
            model.with_masks(Tensors::from([(name.to_owned(), mask)])).unwrap_err().to_string()
        };
        assert!(error("model.7.conv.weight", mask.clone()).contains("model.7.conv.weight"));
        assert!(
            error("model.0.bn.running_mean", Tensor::ones(4, DType::F32, &Device::Cpu).unwrap())
                .contains("trains no tensor")
        );
        assert!(error("model.0.conv.weight", mask.flatten_all().unwrap()).contains("shape"));
        assert!(error("model.0.conv.weight", (mask * 0.5).unwrap()).contains("0 and 1"));
    }
}
