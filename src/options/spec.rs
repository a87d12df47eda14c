//! The declaration of an option as data.

use super::error::OptionError;
use super::kind::{Kind, Value};

/// One option.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its key.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value when it isn't given, if there is one.
    pub default: Option<Value>,
    /// What it does.
    pub doc: String,
}

impl Spec {
    /// Checks a value.
    ///
    /// # Errors
    /// Says what the option takes.
    pub fn check(&self, value: &Value) -> Result<(), OptionError> {
        if self.kind.accepts(value) { Ok(()) } else { Err(OptionError::refused(self.key, &self.kind, value)) }
    }
}
