//! Structs of options.

use super::error::OptionError;
use super::kind::{Spec, Value};
use super::value::OptionValue;

/// What a struct of options is made of: a value, or another such struct.
pub trait Field {
    /// What may limit its values.
    type Limits;

    /// Adds the declarations of its options; `self` holds the defaults.
    fn declare(&self, key: &'static str, doc: &'static str, limits: Option<Self::Limits>, specs: &mut Vec<Spec>);

    /// Adds the values of its options, in the order of their declarations.
    fn values(&self, values: &mut Vec<Option<Value>>);

    /// Sets the option `key`, if it has one of that name that can hold the value; its own name is `own`.
    fn assign(&mut self, own: &str, key: &str, value: &Value) -> bool;
}

impl<T: OptionValue> Field for T {
    type Limits = T::Limits;

    fn declare(&self, key: &'static str, doc: &'static str, limits: Option<Self::Limits>, specs: &mut Vec<Spec>) {
        let doc = doc.trim().trim_end_matches('.').split_whitespace().collect::<Vec<_>>().join(" ");
        specs.push(Spec { key, kind: T::kind(limits), default: self.value(), doc });
    }

    fn values(&self, values: &mut Vec<Option<Value>>) {
        values.push(self.value());
    }

    fn assign(&mut self, own: &str, key: &str, value: &Value) -> bool {
        let read = (own == key).then(|| T::read(value)).flatten();
        read.map(|read| *self = read).is_some()
    }
}

/// A struct of options, declared with `options!`.
pub trait Options: Field + Default {
    /// The declarations, in order.
    fn specs() -> Vec<Spec> {
        let mut specs = Vec::new();
        Self::default().declare("", "", None, &mut specs);
        specs
    }

    /// Every option's key and value, in the same order; `None` where none is given.
    fn entries(&self) -> Vec<(&'static str, Option<Value>)> {
        let mut values = Vec::new();
        self.values(&mut values);
        Self::specs().into_iter().map(|spec| spec.key).zip(values).collect()
    }

    /// Checks every value against its declaration.
    ///
    /// # Errors
    /// Names the first that doesn't fit, and what it takes.
    fn check(&self) -> Result<(), OptionError> {
        let mut values = Vec::new();
        self.values(&mut values);
        Self::specs().iter().zip(values).try_for_each(|(spec, value)| value.map_or(Ok(()), |value| spec.check(&value)))
    }

    /// Sets an option by its key.
    ///
    /// # Errors
    /// A key that there isn't, or a value that the option doesn't take.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), OptionError> {
        let specs = Self::specs();
        let spec = specs
            .iter()
            .find(|spec| spec.key == key)
            .ok_or_else(|| OptionError::unknown(key, specs.iter().map(|spec| spec.key).collect()))?;
        spec.check(value)?;
        if self.assign("", key, value) { Ok(()) } else { Err(OptionError::refused(key, &spec.kind, value)) }
    }

    /// The options whose values are not the defaults, as `key value, key value`.
    fn changes(&self) -> String {
        let changed = self.entries().into_iter().zip(Self::default().entries()).filter(|(own, default)| own != default);
        changed.filter_map(|((key, value), _)| Some(format!("{key} {}", value?))).collect::<Vec<_>>().join(", ")
    }
}
