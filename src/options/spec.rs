//! Checking a value against its option.

use super::error::OptionError;
use super::kind::{Spec, Value};

impl Spec {
    /// Checks a value.
    ///
    /// # Errors
    /// Says what the option takes.
    pub fn check(&self, value: &Value) -> Result<(), OptionError> {
        if self.kind.accepts(value) { Ok(()) } else { Err(OptionError::refused(self.key, &self.kind, value)) }
    }
}
