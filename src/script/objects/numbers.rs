//! Many numbers that are calculated with at once.

use rhai::plugin::*;
use rhai::{Array, Dynamic};
use serde_json::Value;

use super::result::ScriptResult;
use crate::report::View;
use crate::script::api::Api;
use crate::script::failure::raise_text;
use crate::script::object::{Object, short_text};

type Operation = fn(f64, f64) -> f64;

pub fn bind(api: &mut Api) {
    api.object::<Numbers>();
    let operators: [(&str, Operation); 5] =
        [("+", |a, b| a + b), ("-", |a, b| a - b), ("*", |a, b| a * b), ("/", |a, b| a / b), ("**", f64::powf)];
    for (name, of) in operators {
        api.operator(name, move |a: Numbers, b: Numbers| a.with(&b, of));
        api.operator(name, move |a: Numbers, b: f64| Ok(a.map(|a| of(a, b))));
        api.operator(name, move |a: Numbers, b: i64| Ok(a.map(|a| of(a, b as f64))));
        api.operator(name, move |a: f64, b: Numbers| Ok(b.map(|b| of(a, b))));
        api.operator(name, move |a: i64, b: Numbers| Ok(b.map(|b| of(a as f64, b))));
    }
    api.functions(exported_manifest!(functions));
    api.iterator::<Numbers>(|numbers| Box::new(numbers.0.into_iter().map(Dynamic::from)));
}

/// Numbers, one beside the other: `a * b + 1` is calculated number by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers(pub Vec<f64>);

impl Numbers {
    /// The numbers of a script's value: of numbers, or of an array of them.
    pub fn of(value: &Dynamic) -> ScriptResult<Self> {
        if let Some(numbers) = value.read_lock::<Numbers>() {
            return Ok(numbers.clone());
        }
        let number = |item: &Dynamic| item.as_float().or_else(|_| item.as_int().map(|whole| whole as f64)).ok();
        let items = value.read_lock::<Array>();
        let numbers = items.and_then(|items| items.iter().map(number).collect::<Option<_>>());
        let wrong = || raise_text(format!("expected numbers or an array of numbers, not {}", short_text(value)));
        numbers.map(Self).ok_or_else(wrong)
    }

    fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().map(|&number| of(number)).collect())
    }

    fn with(&self, other: &Self, of: impl Fn(f64, f64) -> f64) -> ScriptResult<Self> {
        if self.0.len() != other.0.len() {
            let [own, others] = [self.0.len(), other.0.len()];
            return Err(raise_text(format!("{own} numbers do not go with {others}; both must be as many")));
        }
        Ok(Self(self.0.iter().zip(&other.0).map(|(&a, &b)| of(a, b)).collect()))
    }
}

impl Object for Numbers {
    const NAME: &'static str = "Numbers";

    fn show(&self, _: View) -> String {
        format!("{:?}", self.0)
    }

    fn json(&self) -> Value {
        self.0.iter().copied().collect()
    }
}

#[export_module(manifest)]
mod functions {
    /// Numbers of an array, to calculate with at once: `numbers([1, 2]) * 2 + 1`. They take + - * / ** with numbers and with
    /// as many others.
    #[rhai_fn(return_raw)]
    pub fn numbers(array: Array) -> ScriptResult<Numbers> {
        Numbers::of(&array.into())
    }

    /// How many there are.
    #[rhai_fn(get = "len", pure)]
    pub fn len(numbers: &mut Numbers) -> i64 {
        numbers.0.len() as i64
    }

    /// One of them, counted from 0; from the end where the index is negative.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn at(numbers: &mut Numbers, index: i64) -> ScriptResult<f64> {
        let count = numbers.0.len();
        let place = if index < 0 { index + count as i64 } else { index };
        let found = usize::try_from(place).ok().and_then(|place| numbers.0.get(place).copied());
        found.ok_or_else(|| raise_text(format!("there is no number {index}; there are {count}, from 0")))
    }

    /// Their magnitudes.
    #[rhai_fn(name = "abs", pure)]
    pub fn magnitudes(numbers: &mut Numbers) -> Numbers {
        numbers.map(f64::abs)
    }

    /// Their square roots.
    #[rhai_fn(name = "sqrt", pure)]
    pub fn roots(numbers: &mut Numbers) -> Numbers {
        numbers.map(f64::sqrt)
    }

    /// Their natural logarithms.
    #[rhai_fn(name = "ln", pure)]
    pub fn logarithms(numbers: &mut Numbers) -> Numbers {
        numbers.map(f64::ln)
    }

    /// Their exponentials.
    #[rhai_fn(name = "exp", pure)]
    pub fn exponentials(numbers: &mut Numbers) -> Numbers {
        numbers.map(f64::exp)
    }

    /// Their sum.
    #[rhai_fn(pure)]
    pub fn sum(numbers: &mut Numbers) -> f64 {
        numbers.0.iter().sum()
    }

    /// Their mean.
    #[rhai_fn(pure)]
    pub fn mean(numbers: &mut Numbers) -> f64 {
        numbers.0.iter().sum::<f64>() / numbers.0.len() as f64
    }

    /// The standard deviation of the sample that they are, over one less than there are; 0 of a single number.
    #[rhai_fn(pure)]
    pub fn sd(numbers: &mut Numbers) -> f64 {
        let mean = mean(numbers);
        let squares: f64 = numbers.0.iter().map(|number| (number - mean).powi(2)).sum();
        (squares / (numbers.0.len().max(2) - 1) as f64).sqrt()
    }

    /// The least of them.
    #[rhai_fn(name = "min", pure)]
    pub fn least(numbers: &mut Numbers) -> f64 {
        numbers.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest of them.
    #[rhai_fn(name = "max", pure)]
    pub fn largest(numbers: &mut Numbers) -> f64 {
        numbers.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// They as an array.
    #[rhai_fn(pure)]
    pub fn to_array(numbers: &mut Numbers) -> Array {
        numbers.0.iter().map(|&number| Dynamic::from(number)).collect()
    }
}
