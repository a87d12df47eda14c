//! What scripts can call, one file an object.

mod bench;
mod compare;
mod dataset;
mod detections;
mod distiller;
mod fit;
mod general;
mod metrics;
mod model;
mod pruner;
mod run;
mod table;

use std::ops::RangeInclusive;

use rhai::{Dynamic, EvalAltResult};

use super::engine::Api;
use super::failure::complain;
use crate::data::Dataset;

/// What a native function gives back: a value, or an error of the script.
pub type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Binds everything.
pub fn bind(api: &mut Api) {
    general::bind(api);
    table::bind(api);
    model::bind(api);
    dataset::bind(api);
    metrics::bind(api);
    detections::bind(api);
    bench::bind(api);
    compare::bind(api);
    pruner::bind(api);
    fit::bind(api);
    run::bind(api);
    distiller::bind(api);
}

/// The sides that square images may have, in pixels.
fn side() -> RangeInclusive<i64> {
    32..=8192
}

/// Class names from an array of strings or a dataset.
fn class_names(value: &Dynamic) -> Answer<Vec<String>> {
    if let Some(data) = value.read_lock::<Dataset>() {
        return Ok(data.names.clone());
    }
    let names = value
        .read_lock::<rhai::Array>()
        .and_then(|items| items.iter().map(|item| item.clone().into_string().ok()).collect::<Option<Vec<String>>>());
    names.ok_or_else(|| complain("classes are an array of names or a Dataset"))
}
