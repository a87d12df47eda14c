//! What scripts can call, one file an object.

mod bench;
mod compare;
mod compress;
mod dataset;
mod detections;
mod distiller;
mod fit;
mod general;
mod gradual;
mod importance;
mod metrics;
mod model;
mod numbers;
mod onnx;
mod onnx_model;
mod pruner;
mod race;
mod recorded;
mod result;
mod run;
mod scan;
mod sweep;
mod table;

use super::api::Api;

/// Binds everything.
pub fn bind(api: &mut Api) {
    general::bind(api);
    table::bind(api);
    numbers::bind(api);
    model::bind(api);
    onnx::bind(api);
    dataset::bind(api);
    metrics::bind(api);
    detections::bind(api);
    bench::bind(api);
    compare::bind(api);
    pruner::bind(api);
    scan::bind(api);
    gradual::bind(api);
    compress::bind(api);
    fit::bind(api);
    run::bind(api);
    race::bind(api);
    sweep::bind(api);
    onnx_model::bind(api);
    distiller::bind(api);
    recorded::bind(api);
}
