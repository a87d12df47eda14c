//! What native functions give.

use rhai::EvalAltResult;

/// A value, or an error of the script.
pub type ScriptResult<T> = Result<T, Box<EvalAltResult>>;
