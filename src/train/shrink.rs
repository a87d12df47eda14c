//! Proximal steps: what a penalty makes of tensors, on whatever device they lie.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};

use super::{hook::HookError, sparsity::RowSets};
use crate::model::Tensors;

/// Moves every number towards zero by `by`, those within that to exactly zero.
pub(super) fn soft_threshold(tensor: &Tensor, by: f64) -> Result<Tensor> {
    tensor - tensor.clamp(-by as f32, by as f32)?
}

/// Sets of rows on a device.
#[derive(Debug)]
pub(super) struct DeviceRows {
    /// By the name of a tensor, the set of every row; those in none are in one more at the end.
    sets: BTreeMap<String, Tensor>,
    /// The root of how many numbers each set has, and 0 for the last.
    roots: Tensor,
}

impl DeviceRows {
    /// Puts sets of rows where these tensors are.
    ///
    /// # Errors
    /// A tensor that there isn't, or that has another number of rows.
    pub fn new(rows: &RowSets, tensors: &Tensors, device: &Device) -> std::result::Result<Self, HookError> {
        let count = rows.rows.values().flatten().flatten().max().map_or(0, |&last| last as usize + 1);
        let mut numbers = vec![0.0f64; count + 1];
        let mut sets = BTreeMap::new();
        for (name, rows) in &rows.rows {
            let Some(tensor) = tensors.get(name) else {
                return Err(format!("rows of `{name}` are to be penalised, but the model has no such tensor").into());
            };
            if tensor.dim(0)? != rows.len() {
                let found = tensor.dim(0)?;
                return Err(format!("{} rows of `{name}` are told of, but it has {found}", rows.len()).into());
            }
            let each = (tensor.elem_count() / rows.len().max(1)) as f64;
            let index: Vec<u32> = rows.iter().map(|set| set.unwrap_or(count as u32)).collect();
            index.iter().for_each(|&set| numbers[set as usize] += each);
            sets.insert(name.clone(), Tensor::from_vec(index, rows.len(), device)?);
        }
        let roots = numbers.iter().enumerate().map(|(set, &n)| if set == count { 0.0 } else { n.sqrt() as f32 });
        Ok(Self { sets, roots: Tensor::from_vec(roots.collect::<Vec<_>>(), count + 1, device)? })
    }

    /// Shrinks every set as a whole by `by` · √n, to exactly zero where its norm is no larger.
    pub fn group_soft_threshold(&self, tensors: &Tensors, by: f64) -> Result<Tensors> {
        let mut squares = self.roots.zeros_like()?;
        for (name, sets) in &self.sets {
            let tensor = &tensors[name];
            squares = squares.index_add(sets, &tensor.sqr()?.reshape((tensor.dim(0)?, ()))?.sum(1)?, 0)?;
        }
        // A set of zeros stays zero; what is in no set has the root 0, so the factor 1.
        let norms = squares.sqrt()?.maximum(f32::MIN_POSITIVE)?;
        self.scaled(tensors, &(1.0 - ((&self.roots * by)? / norms)?)?.relu()?)
    }

    /// Divides every set by 1 + `by`.
    pub fn decay(&self, tensors: &Tensors, by: f64) -> Result<Tensors> {
        let inside = self.roots.gt(0f32)?.to_dtype(DType::F32)?;
        self.scaled(tensors, &((inside * (1.0 / (1.0 + by) - 1.0))? + 1.0)?)
    }

    fn scaled(&self, tensors: &Tensors, factors: &Tensor) -> Result<Tensors> {
        let scaled = |(name, sets): (&String, &Tensor)| {
            let tensor = &tensors[name];
            let mut shape = vec![1; tensor.rank()];
            shape[0] = tensor.dim(0)?;
            Ok((name.clone(), tensor.broadcast_mul(&factors.index_select(sets, 0)?.reshape(shape)?)?))
        };
        self.sets.iter().map(scaled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn small_numbers_become_exactly_zero() {
        let tensor = Tensor::new(&[0.5f32, -0.5, 0.25, -0.1, 0.0], &Device::Cpu).unwrap();
        assert_eq!(numbers(&soft_threshold(&tensor, 0.25).unwrap()), [0.25, -0.25, 0.0, 0.0, 0.0]);
        assert_eq!(numbers(&soft_threshold(&tensor, 0.0).unwrap()), numbers(&tensor));
    }

    /// Set 0 is the first row of `a` and both of `b`: (3, 4), 0, 12: norm 13, four numbers. Set 1 is the second row of `a`.
    fn sets() -> (RowSets, Tensors) {
        let a = Tensor::new(&[[3.0f32, 4.0], [0.3, 0.4], [7.0, 8.0]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[0.0f32, 12.0], &Device::Cpu).unwrap();
        let tensors = Tensors::from([("a".into(), a), ("b".into(), b)]);
        let rows = [("a".into(), vec![Some(0), Some(1), None]), ("b".into(), vec![Some(0), Some(0)])];
        (RowSets { rows: BTreeMap::from(rows) }, tensors)
    }

    #[test]
    fn coupled_rows_shrink_by_their_common_norm() {
        let (rows, tensors) = sets();
        let device = DeviceRows::new(&rows, &tensors, &Device::Cpu).unwrap();
        // 1 − 0.65 · √4 / 13 = 0.9; 0.65 · √2 is above 0.5.
        let shrunk = device.group_soft_threshold(&tensors, 0.65).unwrap();
        let expected = [2.7, 3.6, 0.0, 0.0, 7.0, 8.0];
        assert!(numbers(&shrunk["a"]).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
        assert_eq!(numbers(&shrunk["a"])[2..], [0.0, 0.0, 7.0, 8.0], "zeros are exact, and others stay");
        assert!((numbers(&shrunk["b"])[1] - 10.8).abs() < 1e-5);
        let again = device.group_soft_threshold(&shrunk, 0.0).unwrap();
        assert_eq!(numbers(&again["a"]), numbers(&shrunk["a"]), "zeros divide nothing");
        let halved = device.decay(&tensors, 1.0).unwrap();
        assert_eq!(numbers(&halved["a"]), [1.5, 2.0, 0.15, 0.2, 7.0, 8.0]);
    }

    #[test]
    fn rows_that_fit_nothing_are_named() {
        let (rows, mut tensors) = sets();
        tensors.insert("b".into(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
        let error = |tensors: &Tensors| DeviceRows::new(&rows, tensors, &Device::Cpu).unwrap_err().to_string();
        assert!(error(&tensors).contains("2 rows of `b`") && error(&tensors).contains("has 3"));
        tensors.remove("a");
        assert!(error(&tensors).contains("no such tensor"));
    }
}
