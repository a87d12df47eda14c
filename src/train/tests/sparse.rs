//! Sparse training: exact zeros, in the averaged weights too, on both backends and through a resumed run.

use super::{StopAfter, dataset, quick, tiny, values};
use crate::{
    exec::{Backend, ComputeDtype},
    graph::Role,
    model::Model,
    progress::Silent,
    prune::{Amount, PruneOptions, Pruner, coupled_rows, planned_rows},
    train::*,
};

const BACKENDS: [Backend; 2] = [Backend::Fast(ComputeDtype::Fp32), Backend::Reference];

fn numbers(model: &Model, role: Role) -> Vec<f32> {
    let names = model.graph().parameters().filter(|(_, _, parameter)| parameter.role == role);
    names.flat_map(|(_, name, _)| model.tensors()[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

fn zeros(numbers: &[f32]) -> f64 {
    numbers.iter().filter(|number| **number == 0.0).count() as f64 / numbers.len() as f64
}

fn sparse(kind: Sparsity, strength: f32) -> FitOptions {
    let options = FitOptions { sparsity: Some(kind), sparsity_strength: Some(strength), ..quick() };
    FitOptions { validate: false, warmup_epochs: 0.0, ..options }
}

/// Fails where the averaged weights have another set of zeros than the trained ones.
struct SameZeros;

impl Hook for SameZeros {
    fn name(&self) -> &str {
        "same zeros"
    }

    fn after_step(&mut self, step: &mut StepContext<'_>) -> Result<(), HookError> {
        let averaged = step.trainer.averaged()?;
        for (name, tensor) in step.trainer.model().tensors().iter().filter(|(name, _)| name.ends_with("conv.weight")) {
            let zeros = |tensor: &candle_core::Tensor| tensor.eq(0f32)?.flatten_all()?.to_vec1::<u8>();
            assert_eq!(zeros(tensor)?, zeros(&averaged.tensors()[name])?, "{name}");
        }
        Ok(())
    }
}

#[test]
fn stronger_l1_gives_more_exact_zeros_in_the_average_too() {
    let (data, model) = (dataset(6), tiny("yolov8n"));
    let objective = Objective::detection(model.detector(), &loss::Gains::default()).unwrap();
    for backend in BACKENDS {
        let shares = [0.0, 0.1, 0.4, 1.6].map(|strength| {
            let options = FitOptions { backend: Some(backend), ..sparse(Sparsity::L1, strength) };
            let mut hooks: Vec<Box<dyn Hook>> = vec![Box::new(SameZeros)];
            let run = fit_with(&model, &data, &options, &objective, &mut hooks, &Silent).unwrap();
            let share = zeros(&numbers(&run.last, Role::Weight));
            let figures = &run.history.last().unwrap().figures;
            assert_eq!(figures[0], ("sparsity/zeros".to_owned(), share));
            share
        });
        assert_eq!(shares[0], 0.0);
        assert!(shares.windows(2).all(|pair| pair[0] + 0.01 < pair[1]), "{shares:?}");
    }
}

#[test]
fn without_a_strength_nothing_changes() {
    let (data, model) = (dataset(6), tiny("yolov5n"));
    let plain = fit(&model, &data, &FitOptions { validate: false, warmup_epochs: 0.0, ..quick() }, &Silent).unwrap();
    let free = fit(&model, &data, &sparse(Sparsity::Slimming, 0.0), &Silent).unwrap();
    assert_eq!(values(&plain.last), values(&free.last));
}

#[test]
fn slimming_lowers_the_scales_alone() {
    let (data, model) = (dataset(6), tiny("yolov5n"));
    let mean = |model: &Model| {
        let scales = numbers(model, Role::NormScale);
        scales.iter().map(|scale| f64::from(scale.abs())).sum::<f64>() / scales.len() as f64
    };
    let of = |strength| fit(&model, &data, &sparse(Sparsity::Slimming, strength), &Silent).unwrap();
    let means = [0.0, 1.0, 10.0].map(|strength| {
        let run = of(strength);
        let (_, told) = &run.history.last().unwrap().figures[1];
        let found = mean(&run.last);
        assert!((told - found).abs() < 1e-9);
        found
    });
    assert!(means[1] < 0.99 * means[0] && means[2] < 0.9 * means[1], "{means:?}");
    let strong = of(1e4).last;
    assert_eq!((zeros(&numbers(&strong, Role::NormScale)), zeros(&numbers(&strong, Role::Weight))), (1.0, 0.0));
}

#[test]
fn a_lasso_of_groups_zeroes_whole_channels_that_can_then_go() {
    let (data, model) = (dataset(6), tiny("yolov8n"));
    let rows = coupled_rows(&model).unwrap();
    for backend in BACKENDS {
        let options =
            FitOptions { rows: Some(rows.clone()), backend: Some(backend), ..sparse(Sparsity::GroupLasso, 4.0) };
        let last = fit(&model, &data, &options, &Silent).unwrap().last;
        // Every set is zero as a whole or not at all.
        let mut whole = std::collections::BTreeMap::new();
        for (name, sets) in &rows.rows {
            let values = last.tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (row, set) in values.chunks_exact(values.len() / sets.len()).zip(sets) {
                if let Some(set) = set {
                    // A normalisation shift that begins at zero may be zero by itself.
                    let zero = row.iter().all(|value| *value == 0.0);
                    whole.entry(*set).or_insert((true, 0)).0 &= zero;
                    whole.get_mut(set).unwrap().1 += 1;
                }
            }
        }
        let gone = whole.values().filter(|(zero, _)| *zero).count();
        assert!(gone > 0 && gone < whole.len(), "{gone} of {}", whole.len());
    }
}

/// A tiny network, a plan for it, and the options that let grow what shrinks the plan's channels.
fn growing(strength: f32) -> (Model, FitOptions) {
    let model = tiny("yolov5n");
    let plan = PruneOptions { amount: Amount::Ratio(0.3), min_channels: 1.into(), ..PruneOptions::default() };
    let plan = Pruner::new(&model, plan).unwrap().plan().unwrap();
    let rows = planned_rows(&model, &plan).unwrap();
    (model, FitOptions { rows: Some(rows), ..sparse(Sparsity::Growing, strength) })
}

#[test]
fn what_a_plan_removes_shrinks_and_the_rest_does_not() {
    let (model, options) = growing(50.0);
    let data = dataset(6);
    let (sets, plain) = (options.rows.clone().unwrap(), FitOptions { sparsity_strength: Some(0.0), ..options.clone() });
    let norms = |model: &Model| {
        let mut squares = [0.0f64; 2];
        for (name, rows) in &sets.rows {
            let values = model.tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (row, set) in values.chunks_exact(values.len() / rows.len()).zip(rows) {
                squares[usize::from(set.is_some())] += row.iter().map(|v| f64::from(v * v)).sum::<f64>();
            }
        }
        squares.map(f64::sqrt)
    };
    let [kept, gone] = norms(&fit(&model, &data, &options, &Silent).unwrap().last);
    let [kept_plain, gone_plain] = norms(&fit(&model, &data, &plain, &Silent).unwrap().last);
    assert!(gone < 0.7 * gone_plain, "{gone} against {gone_plain}");
    assert!((kept / kept_plain - 1.0).abs() < 0.1, "{kept} against {kept_plain}");
}

#[test]
fn a_resumed_run_penalises_the_same() {
    let data = dataset(6);
    let folder = tempfile::tempdir().unwrap();
    for (index, backend) in BACKENDS.into_iter().enumerate() {
        let (model, options) = growing(20.0);
        let options = FitOptions { backend: Some(backend), ..options };
        let whole = fit(&model, &data, &options, &Silent).unwrap();
        let kept = FitOptions { folder: Some(folder.path().join(format!("run{index}"))), ..options.clone() };
        let stopped = fit(&model, &data, &kept, &StopAfter::steps(3)).unwrap();
        let resume = FitOptions { resume: stopped.folder.clone(), backend: Some(backend), ..FitOptions::default() };
        let other = FitOptions { rows: Some(coupled_rows(&model).unwrap()), ..resume.clone() };
        let error = fit(&model, &data, &other, &Silent).unwrap_err().to_string();
        assert!(error.contains("sparsity") && error.contains("another plan"), "{error}");
        let resumed = fit(&model, &data, &resume, &Silent).unwrap();
        assert_eq!(values(&resumed.last), values(&whole.last));
        assert_eq!(resumed.history.last().unwrap().figures, whole.history.last().unwrap().figures);
        let text = std::fs::read_to_string(stopped.folder.unwrap().join("results.csv")).unwrap();
        assert!(text.lines().next().unwrap().ends_with(",sparsity/zeros,sparsity/magnitude"), "{text}");
    }
}

#[test]
fn both_backends_shrink_alike() {
    let data = dataset(6);
    let (model, growing) = growing(20.0);
    let lasso = FitOptions { rows: Some(coupled_rows(&model).unwrap()), ..sparse(Sparsity::GroupLasso, 0.1) };
    for options in [sparse(Sparsity::L1, 0.2), sparse(Sparsity::Slimming, 1.0), growing, lasso] {
        // Two steps: fresh networks this small are chaotic.
        let options = FitOptions { epochs: 1, lr: 1e-3, ..options };
        let [fast, reference] = BACKENDS.map(|backend| {
            fit(&model, &data, &FitOptions { backend: Some(backend), ..options.clone() }, &Silent).unwrap().last
        });
        for role in [Role::Weight, Role::NormScale] {
            for (a, b) in numbers(&fast, role).iter().zip(numbers(&reference, role)) {
                assert!((a - b).abs() < 1e-3 * b.abs() + 1e-4, "{:?} {role:?}: {a} against {b}", options.sparsity);
            }
        }
    }
}

#[test]
fn what_does_not_go_together_is_named() {
    let (data, model) = (dataset(4), tiny("yolov5n"));
    let error = |options: FitOptions| fit(&model, &data, &options, &Silent).unwrap_err().to_string();
    let text = error(sparse(Sparsity::Growing, 1.0));
    assert!(text.contains("\"sparsity\"") && text.contains("rows"), "{text}");
    let text = error(FitOptions { sparsity_strength: Some(1.0), ..quick() });
    assert!(text.contains("\"sparsity_strength\"") && text.contains("a sparsity"), "{text}");
    let rows = coupled_rows(&tiny("yolov8n")).unwrap();
    let text = error(FitOptions { rows: Some(rows), ..sparse(Sparsity::GroupLasso, 1.0) });
    assert!(text.contains("hook `sparsity`") && text.contains("rows"), "{text}");
}
