//! What scripts can call, one file an object.

mod general;
mod table;

use rhai::EvalAltResult;

use super::engine::Api;

/// What a native function gives back: a value, or an error of the script.
pub type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Binds everything.
pub fn bind(api: &mut Api) {
    general::bind(api);
    table::bind(api);
}
