//! Models side by side: size, cost, speed and quality.

use espalier_kernels::allocator::Borrowing;
use serde::{Deserialize, Serialize};

use super::{
    average_precision::Score,
    error::EvalError,
    evaluate::evaluate,
    latency::{Timed, noise_on, time_runs, with_threads},
    network::Network,
    options::{BenchOptions, EvaluateOptions},
    subject::Subject,
    timing::Timing,
};
use crate::{data::Dataset, progress::Progress};

/// One model's line of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The model's name.
    pub name: String,
    /// Trained numbers.
    pub params: u64,
    /// Multiply-accumulates of an image at the measurement's size.
    pub macs: u64,
    /// Bytes of its tensors in fp32, which a file of it holds beside a little text; of an ONNX file, its own.
    pub bytes: u64,
    /// Share of the convolutions' weights that is exactly zero.
    pub sparsity: f64,
    /// Share of them that is nearly zero: see [`Model::near_zeros`](crate::model::Model::near_zeros).
    pub near_zeros: f64,
    /// Seconds a batch; `None` if no measurement was asked for.
    pub latency: Option<Timing>,
    /// How good it is; `None` if no dataset was given.
    pub score: Option<Score>,
}

/// What is measured beside size and cost.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Compare<'a> {
    /// Side of the square images in pixels for which MACs are counted.
    pub size: usize,
    /// How speed is measured, all models in turn.
    pub bench: Option<&'a BenchOptions>,
    /// Where and how quality is measured.
    pub quality: Option<(&'a Dataset, &'a EvaluateOptions)>,
}

impl Compare<'_> {
    /// Cost alone, for images of that size; neither speed nor quality.
    pub fn cost(size: usize) -> Self {
        Self { size, bench: None, quality: None }
    }
}

/// A line for each model or ONNX file, in order.
///
/// # Errors
/// Those of the measurements asked for; size for which a network cannot run.
pub fn compare<'a, M: Copy + Into<Subject<'a>>>(
    models: &[M],
    what: Compare,
    progress: &dyn Progress,
) -> Result<Vec<Compared>, EvalError> {
    let _memory = Borrowing::begin();
    let models: Vec<Subject> = models.iter().map(|&model| model.into()).collect();
    let mut rows = models.iter().map(|&model| row(model, what.size)).collect::<Result<Vec<_>, EvalError>>()?;
    if let Some(options) = what.bench {
        for (row, timing) in rows.iter_mut().zip(latencies(&models, options, progress)?) {
            row.latency = Some(timing);
        }
    }
    if let Some((dataset, options)) = what.quality {
        for (row, &model) in rows.iter_mut().zip(&models) {
            row.score = Some(evaluate(model, dataset, options, progress)?.scores.overall);
        }
    }
    Ok(rows)
}

fn row(model: Subject, size: usize) -> Result<Compared, EvalError> {
    model.check_size(size)?;
    let (params, bytes, sparsity, near_zeros) = match model {
        Subject::Model(model) => {
            let bytes = model.tensors().values().map(|tensor| 4 * tensor.elem_count() as u64).sum();
            (model.cost(size)?.params, bytes, model.sparsity()?, model.near_zeros()?)
        }
        Subject::Onnx(file) => {
            let weights = file.weights();
            (weights.count, file.bytes(), weights.convolutions.zeros, weights.convolutions.near_zeros)
        }
    };
    let (name, macs) = (model.name().to_owned(), model.macs(size)?);
    Ok(Compared { name, params, macs, bytes, sparsity, near_zeros, latency: None, score: None })
}

fn latencies(models: &[Subject], options: &BenchOptions, progress: &dyn Progress) -> Result<Vec<Timing>, EvalError> {
    models.iter().try_for_each(|&model| options.validate(model))?;
    let ready = |&model: &Subject| {
        let network = Network::new(model, options.precision, options.threads)?;
        let images = noise_on(network.device(), options)?;
        Ok((network, images))
    };
    let ready = models.iter().map(ready).collect::<Result<Vec<_>, EvalError>>()?;
    with_threads(options.threads, || {
        let mut runs: Vec<_> = ready.iter().map(|(network, images)| move || network.run(images).map(|_| ())).collect();
        let mut runs: Vec<Timed> = runs.iter_mut().map(|run| run as Timed).collect();
        time_runs(options.warm_up, options.runs, progress, &mut runs)
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{ShapesOptions, shapes},
        model::{Model, fixtures::tiny_detector},
        progress::Silent,
    };

    #[test]
    fn lines_hold_what_was_asked_for() {
        let models = [tiny_detector(6), tiny_detector(6)];
        let models: Vec<&Model> = models.iter().collect();
        let plain = compare(&models, Compare::cost(64), &Silent).unwrap();
        let cost = models[0].cost(64).unwrap();
        assert_eq!((plain[0].params, plain[0].macs, plain.len()), (cost.params, cost.macs, 2));
        // Running averages are stored beside what is trained.
        assert_eq!(plain[0].bytes, 4 * (cost.params + 8));
        assert!(plain.iter().all(|row| row.latency.is_none() && row.score.is_none()));
        let data = shapes(&ShapesOptions { train: 1, val: 2, size: 64, ..ShapesOptions::default() }).unwrap();
        let bench = BenchOptions { size: 64, runs: 2, ..BenchOptions::default() };
        let options = EvaluateOptions { size: 64, ..EvaluateOptions::default() };
        let what = Compare { size: 64, bench: Some(&bench), quality: Some((&data, &options)) };
        let rows = compare(&models, what, &Silent).unwrap();
        assert!(rows.iter().all(|row| row.latency.as_ref().is_some_and(|timing| timing.runs() == 2)));
        assert!(rows[0].score.is_some() && rows[0].score == rows[1].score);
        assert!(compare(&models, Compare::cost(0), &Silent).is_err());
    }
}
