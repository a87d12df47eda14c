//! A distillation with every kind of term and adapter, stopped again and again.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    tests::{data, settled},
    *,
};
use crate::{
    model::Model,
    options::Value,
    progress::{Progress, Silent},
    prune::{Amount, PruneOptions, Pruner},
    train::{FitOptions, Run},
};

/// Asks to stop once so many steps are made.
struct StopAfter(AtomicUsize);

impl Progress for StopAfter {
    fn start(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64, _message: &str) {
        let one_less = |left: usize| Some(left.saturating_sub(1));
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).unwrap();
    }
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// All terms, the adapters in turn.
fn options() -> DistillOptions {
    let squares = Expression::binary(Binary::Subtract, Expression::Teacher, Expression::Student);
    let squares = Expression::unary(Unary::Mean, Expression::Power(Box::new(squares), 2.0));
    let expression = serde_json::to_string(&squares).unwrap();
    let text = |text: &str| Value::Text(text.into());
    let all = TERMS.iter().fold(Terms::none(), |terms, info| terms.with(info.name, 1.0));
    let terms = all
        .with_option("loss", "expression", Value::Text(expression))
        .with_option("hint", "adapter", text("linear"))
        .with_option("hint", "schedule", text("cosine"))
        .with_option("score_l2", "adapter", text("conv"))
        .with_option("cwd", "adapter", text("kept"))
        .with_option("pkd", "adapter", text("kept"))
        .with_option("mgd", "adapter", text("linear"))
        .with_option("fgd", "adapter", text("conv"))
        .with_option("crosskd", "adapter", text("conv"))
        .with_option("rkd", "from", Value::Number(0.3))
        .with_option("sp", "until", Value::Number(0.6));
    DistillOptions { terms, balance: 0.1, ..DistillOptions::default() }
}

fn numbers(model: &Model) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
    model.tensors().iter().map(|(name, tensor)| (name.clone(), bits(tensor).collect())).collect()
}

#[test]
fn stopped_at_random_steps_it_ends_as_undisturbed() {
    for (variant, seed) in [("yolov5n", 1), ("yolov8n", 2)] {
        let teacher = settled(variant, 0.125, seed);
        let prune =
            PruneOptions { amount: Amount::Ratio(0.4), min_channels: 1.into(), round_to: 1, ..PruneOptions::default() };
        let student = Pruner::new(&teacher, prune).unwrap().prune().unwrap();
        let whole = ends_as_undisturbed(&Distiller::new(&teacher, &student, options()).unwrap(), seed);
        assert_eq!(whole.parts.len(), 3 + TERMS.len());
        // The same with the student's own average, which has no head of its own for crosskd.
        let options = DistillOptions { terms: options().terms.with("crosskd", 0.0), ..options() };
        let own = ends_as_undisturbed(&Distiller::of_own_average(&student, without_kept(options)).unwrap(), seed);
        assert_eq!(own.parts.len(), TERMS.len());
    }
}

/// Without the terms that need a student pruned from its teacher.
fn without_kept(options: DistillOptions) -> DistillOptions {
    DistillOptions { terms: options.terms.with("cwd", 0.0).with("pkd", 0.0), ..options }
}

/// Checks that a run of 12 steps which is stopped again and again, after none to two of them, ends as one that is not.
fn ends_as_undisturbed(distiller: &Distiller, seed: u64) -> Run {
    let fit = FitOptions { epochs: 3, batch: 2, size: 64, validate: false, ..FitOptions::default() };
    let whole = distiller.fit(&data(), &fit, &Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut next = FitOptions { folder: Some(folder.path().join("run")), ..fit };
    let (mut random, mut stops) = (ChaCha8Rng::seed_from_u64(seed), 0);
    let ended = loop {
        let steps = random.random_range(0..3);
        let run = distiller.fit(&data(), &next, &StopAfter(steps.into())).unwrap();
        if !run.stopped {
            break run;
        }
        next = FitOptions { resume: run.folder, ..FitOptions::default() };
        stops += 1;
    };
    assert!(stops >= 6, "only {stops} stops");
    assert!(numbers(&whole.last) != numbers(distiller.student()), "nothing was learnt");
    assert!(numbers(&ended.last) == numbers(&whole.last), "other weights after {stops} stops");
    // Sums of losses are kept with checkpoints too.
    let losses = |run: &Run| run.history.iter().map(|row| row.losses.clone()).collect::<Vec<_>>();
    assert_eq!(losses(&ended), losses(&whole));
    whole
}
