//! Training as a whole: loss curves, resumption, what is refused.

mod hooks;
mod masks;
mod sparse;
mod terms;

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use candle_core::{Device, Tensor};

use super::{loss::*, *};
use crate::{
    boxes::{Centred, Truth},
    data::{Augment, BatchOptions, Batches, Dataset, ShapesOptions, Target, shapes},
    exec::{self, ComputeDtype, ValueGradients},
    io,
    model::{Model, Tensors},
    progress::{Progress, Silent},
    testing::shared,
    zoo,
};

/// Losses and the norm of every parameter's gradient, in training mode, against PyTorch's.
#[test]
fn losses_and_gradients_match_the_goldens() {
    for name in ["yolov5n-bccd", "yolov8n-bccd"] {
        let (Some(file), Some(facts), Some(batch)) = (
            shared(&format!("models/{name}.pt")),
            shared(&format!("goldens/{name}.json")),
            shared("goldens/batch.safetensors"),
        ) else {
            return;
        };
        let model = io::load(file).unwrap();
        let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(facts).unwrap()).unwrap();
        let batch = candle_core::safetensors::load(batch, &Device::Cpu).unwrap();
        let targets: Vec<Target> = batch["targets"].to_vec2::<f32>().unwrap().iter().map(|row| target(row)).collect();
        let tape = exec::train(&model, &batch["images"], &[]).unwrap();
        let loss = DetectionLoss::new(model.detector(), &Gains::default()).unwrap();
        let found = loss.compute(&tape.values.outputs, &targets).unwrap();
        let close = |what: &str, found: f64, expected: &serde_json::Value| {
            let expected = expected.as_f64().unwrap();
            let off = (found - expected).abs();
            assert!(off <= (1e-3 * expected.abs()).max(1e-5), "{name} {what}: {found} against {expected}");
        };
        close("total", found.total.into(), &facts["loss"]["total_times_batch"]);
        for (part, value) in &found.parts {
            close(part, (*value).into(), &facts["loss"][part.trim_end_matches("_loss")]);
        }
        let outputs = found.gradients.into_iter().map(Some).collect();
        let gradients = tape.backward(&ValueGradients { outputs, taps: BTreeMap::new() }).unwrap().tensors;
        let norms = facts["grad_norm"].as_object().unwrap();
        assert_eq!(gradients.len(), norms.len(), "{name}");
        for (parameter, norm) in norms {
            let gradient = gradients[parameter].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = gradient.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            close(parameter, found, norm);
        }
    }
}

fn target(row: &[f32]) -> Target {
    let bounds = Centred { cx: row[2], cy: row[3], w: row[4], h: row[5] };
    Target { image: row[0] as usize, truth: Truth { class: row[1] as usize, bounds } }
}

fn dataset(train: usize) -> Dataset {
    let classes = ["circle", "square"].map(String::from).to_vec();
    shapes(&ShapesOptions { train, val: 3, size: 64, seed: 3, classes }).unwrap()
}

fn tiny(variant: &str) -> Model {
    let classes = ["circle", "square"].map(String::from).to_vec();
    let fresh = zoo::Fresh { classes, width: Some(0.0625), depth: Some(0.1), seed: 1 };
    zoo::yolo(variant, &fresh).unwrap()
}

fn quick() -> FitOptions {
    FitOptions { epochs: 3, batch: 3, size: 64, warmup_epochs: 1.0, close_mosaic: 1, ..FitOptions::default() }
}

fn values(model: &Model) -> Vec<(String, Vec<f32>)> {
    let flat = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.flatten_all().unwrap().to_vec1().unwrap());
    model.tensors().iter().map(flat).collect()
}

/// Asks to stop once so many steps are done.
pub(super) struct StopAfter {
    limit: usize,
    done: AtomicUsize,
}

impl StopAfter {
    pub(super) fn steps(limit: usize) -> Self {
        Self { limit, done: AtomicUsize::new(0) }
    }
}

impl Progress for StopAfter {
    fn advance(&self, _done: u64, _message: &str) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }
    fn stop_requested(&self) -> bool {
        self.done.load(Ordering::SeqCst) >= self.limit
    }
}

/// The loss of YOLOv8 rises first, while its targets' scores follow the overlaps, so the highest is what to fall from.
#[test]
fn two_images_are_learnt_by_heart() {
    let data = dataset(2);
    for (variant, epochs) in [("yolov5n", 40), ("yolov8n", 60)] {
        let options = FitOptions {
            epochs,
            batch: 2,
            lrf: 0.2,
            optimizer: OptimizerKind::AdamW,
            momentum: 0.9,
            augment: Augment::none(),
            validate: false,
            ..quick()
        };
        let run = fit(&tiny(variant), &data, &options, &Silent).unwrap();
        let totals: Vec<f64> = run.history.iter().map(|row| row.losses.iter().sum()).collect();
        let highest = totals.iter().copied().fold(0.0, f64::max);
        assert!(totals[epochs - 1] < 0.5 * highest, "{variant}: {totals:?} {:?}", run.history.last());
        // Only the last epoch is validated.
        assert!(run.history[epochs - 2].validation.is_none() && run.history[epochs - 1].validation.is_some());
        assert_eq!(run.best, Some(epochs));
    }
}

#[test]
fn a_stopped_run_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(7);
    let model = tiny("yolov8n");
    let whole = FitOptions { folder: Some(folder.path().join("whole")), ..quick() };
    let whole = fit(&model, &data, &whole, &Silent).unwrap();
    assert!(!whole.stopped && whole.history.len() == 3);

    let options = FitOptions { folder: Some(folder.path().join("parts")), ..quick() };
    let stopped = fit(&model, &data, &options, &StopAfter::steps(2)).unwrap();
    assert!(stopped.stopped && stopped.history.is_empty());
    let path = stopped.folder.clone().unwrap();
    let resume = FitOptions { resume: Some(path.clone()), ..FitOptions::default() };
    // Three steps make an epoch: stopped once more in the middle of the second.
    let again = fit(&model, &data, &resume, &StopAfter::steps(2)).unwrap();
    assert!(again.stopped && again.history.len() == 1);
    let resumed = fit(&model, &data, &resume, &Silent).unwrap();
    assert_eq!(values(&resumed.last), values(&whole.last));
    assert_eq!(values(&resumed.model), values(&whole.model));
    assert_eq!(resumed.best, whole.best);
    let timeless =
        |run: &Run| -> Vec<Epoch> { run.history.iter().map(|row| Epoch { seconds: 0.0, ..row.clone() }).collect() };
    assert_eq!(timeless(&resumed), timeless(&whole));

    // The files are there and open.
    let last = io::load(path.join("weights/last.safetensors")).unwrap();
    assert_eq!(values(&last), values(&whole.last));
    assert_eq!(std::fs::read_to_string(path.join("results.csv")).unwrap().lines().count(), 4);

    // Other options than the run's, another model, no run at all.
    let other = FitOptions { epochs: 5, ..resume.clone() };
    let error = fit(&model, &data, &other, &Silent).unwrap_err().to_string();
    assert!(error.contains("epochs = 3") && error.contains('5'), "{error}");
    let error = fit(&tiny("yolov5n"), &data, &resume, &Silent).unwrap_err().to_string();
    assert!(error.contains("another network"), "{error}");
    let nothing = FitOptions { resume: Some(folder.path().join("nothing")), ..quick() };
    let error = fit(&model, &data, &nothing, &Silent).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("resume takes"), "{error}");
    broken_checkpoints_are_told_apart(&model, &data, &path);
}

/// Each malformation of a checkpoint is an error of its own.
fn broken_checkpoints_are_told_apart(model: &Model, data: &Dataset, run: &Path) {
    let file = run.join("checkpoint.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let resume = FitOptions { resume: Some(run.into()), ..FitOptions::default() };
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        match fit(model, data, &resume, &Silent) {
            Err(TrainError::Checkpoint { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(refused(&whole[..whole.len() / 2]), CheckpointError::Container(_)));
    assert!(matches!(refused(b"no"), CheckpointError::Container(_)));
    let weights = std::fs::read(run.join("weights/last.safetensors")).unwrap();
    assert!(matches!(refused(&weights), CheckpointError::NoDescription));
    // As text of the same length, so that the header stays whole.
    let replaced = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat()
    };
    let version = r#"{\"version\":2,"#;
    let old = refused(&replaced(version, r#"{\"version\":1,"#));
    assert!(matches!(old, CheckpointError::Version { found: Some(1), known: 2 }), "{old}");
    assert!(old.to_string().contains("version 1") && old.to_string().contains("begin a new run"), "{old}");
    assert!(matches!(refused(&replaced(r#"\"detector\""#, r#"\"detectoR\""#)), CheckpointError::Description(_)));
    let kind = refused(&replaced(r#""state.0":{"dtype":"F32""#, r#""state.0":{"dtype":"I32""#));
    assert!(matches!(kind, CheckpointError::ArrayType { .. }), "{kind}");
    std::fs::write(&file, &whole).unwrap();
}

/// The test runs itself as a process of its own, kills that without warning, and goes on with what it left.
#[test]
fn a_killed_run_resumes_to_the_same_weights() {
    const FOLDER: &str = "ESPALIER_TEST_KILLED_RUN";
    let data = dataset(7);
    let model = tiny("yolov5n");
    let options = |folder: &Path| FitOptions {
        folder: Some(folder.into()),
        epochs: 12,
        checkpoint_every: 2,
        validate: false,
        ..quick()
    };
    if let Some(folder) = std::env::var_os(FOLDER) {
        fit(&model, &data, &options(Path::new(&folder)), &Silent).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed");
    let name = "train::tests::a_killed_run_resumes_to_the_same_weights";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(FOLDER, &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let waiting = Instant::now();
    while !path.join("weights/last.safetensors").exists() || !path.join("checkpoint.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        assert!(waiting.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resume = FitOptions { resume: Some(path), ..FitOptions::default() };
    let resumed = fit(&model, &data, &resume, &Silent).unwrap();
    let whole = fit(&model, &data, &options(&folder.path().join("whole")), &Silent).unwrap();
    assert_eq!(resumed.history.len(), 12);
    assert_eq!(values(&resumed.last), values(&whole.last));
}

#[test]
fn misfits_are_named_before_anything_runs() {
    let data = dataset(3);
    let model = tiny("yolov5n");
    let fails = |options: FitOptions, words: &[&str]| {
        let error = fit(&model, &data, &options, &Silent).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    fails(FitOptions { batch: 0, ..quick() }, &["batch", "from 1 to 4096"]);
    fails(FitOptions { epochs: 0, ..quick() }, &["epochs", "from 1 to"]);
    fails(FitOptions { size: 100, ..quick() }, &["size", "32", "96"]);
    fails(FitOptions { lr: f32::NAN, ..quick() }, &["lr", "a number from", "NaN"]);
    fails(FitOptions { lrf: 2.0, ..quick() }, &["lrf"]);
    fails(FitOptions { augment: Augment { mosaic: 2.0, ..Augment::default() }, ..quick() }, &["mosaic"]);
    let more = with_classes(&model, &["circle", "square", "star"].map(String::from), 0).unwrap();
    let error = fit(&more, &data, &quick(), &Silent).unwrap_err().to_string();
    assert!(error.contains("3 classes (circle, square, star)") && error.contains("with_classes"), "{error}");
}

#[test]
fn new_classes_keep_boxes_and_the_classes_known_by_name() {
    let images = Tensor::rand(0f32, 1f32, (1, 3, 64, 64), &Device::Cpu).unwrap();
    for variant in ["yolov5n", "yolov8n"] {
        let model = tiny(variant);
        let wider = with_classes(&model, &["star", "square", "ring"].map(String::from), 5).unwrap();
        let old = exec::infer(&model, &images, &[]).unwrap().outputs;
        let new = exec::infer(&wider, &images, &[]).unwrap().outputs;
        let same = |old: &Tensor, new: &Tensor| {
            let off = (old - new).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off < 1e-5, "{variant}: {off}");
        };
        let channels = |map: &Tensor, from: usize, count: usize| map.narrow(1, from, count).unwrap();
        if variant == "yolov5n" {
            assert_eq!(new[0].dims()[1], 3 * 8);
            for anchor in 0..3 {
                same(&channels(&old[0], anchor * 7, 5), &channels(&new[0], anchor * 8, 5));
                same(&channels(&old[0], anchor * 7 + 6, 1), &channels(&new[0], anchor * 8 + 6, 1));
            }
        } else {
            same(&old[0], &new[0]);
            assert_eq!(new[1].dims()[1], 3);
            same(&channels(&old[1], 1, 1), &channels(&new[1], 1, 1));
        }
        let run = fit(&wider, &three_classes(), &FitOptions { epochs: 1, ..quick() }, &Silent).unwrap();
        assert_eq!(run.history.len(), 1);
    }
    assert!(with_classes(&tiny("yolov5n"), &["a", "a"].map(String::from), 0).is_err());
}

fn three_classes() -> Dataset {
    let classes = ["star", "square", "ring"].map(String::from).to_vec();
    shapes(&ShapesOptions { train: 3, val: 2, size: 64, seed: 3, classes }).unwrap()
}

/// Rounding must not grow into another course of the training.
#[test]
fn both_paths_give_the_same_loss_curve() {
    let drawn = ShapesOptions { train: 8, val: 1, size: 160, ..ShapesOptions::default() };
    let drawn = shapes(&drawn).unwrap();
    the_same_loss_curve(&io::teacher().unwrap(), &drawn, 160);
    let (Some(model), Some(data)) = (shared("models/yolov8n-bccd.pt"), shared("data/bccd/data.yaml")) else { return };
    the_same_loss_curve(&io::load(model).unwrap(), &crate::data::dataset(data).unwrap(), 128);
}

fn the_same_loss_curve(model: &Model, data: &Dataset, size: usize) {
    let objective = Objective::detection(model.detector(), &Gains::default()).unwrap();
    let options = BatchOptions { size, batch: 4, augment: Augment::none(), ..BatchOptions::default() };
    let batch = Batches::train(data.split("train").unwrap(), &options).unwrap().next().unwrap().unwrap();
    let rates = Rates { lr: [1e-3; 3], momentum: 0.9 };
    let curve = |path: exec::Backend| -> Vec<f64> {
        let options = FitOptions { backend: Some(path), ..FitOptions::default() };
        let mut trainer = Trainer::new(model, &Tensors::new(), &options, 20).unwrap();
        let mut step = || trainer.step(&batch.images, &batch.targets, &objective, &rates, 0.0).unwrap().total;
        (0..20).map(|_| step()).collect()
    };
    let (fast, reference) = (curve(exec::Backend::Fast(ComputeDtype::Fp32)), curve(exec::Backend::Reference));
    assert!(fast[19] < 0.95 * fast[0], "nothing is learnt: {fast:?}");
    let in_bf16 = curve(exec::Backend::Fast(ComputeDtype::Bf16));
    assert_ne!(in_bf16, fast);
    for (step, ((fast, in_bf16), reference)) in fast.iter().zip(&in_bf16).zip(&reference).enumerate() {
        let within = |found: &f64, share| (found - reference).abs() <= share * reference;
        assert!(within(fast, 1e-3), "step {step}: {fast} against {reference}");
        assert!(within(in_bf16, 2e-2), "step {step} in bf16: {in_bf16} against {reference}");
    }
}

#[test]
fn bf16_is_refused_where_the_processor_lacks_it() {
    let options = FitOptions { epochs: 1, precision: ComputeDtype::Bf16, ..quick() };
    let run = fit(&tiny("yolov8n"), &dataset(3), &options, &Silent);
    if ComputeDtype::Bf16.is_native() {
        assert_eq!(run.unwrap().history.len(), 1);
    } else {
        let error = run.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("AVX-512 BF16") && error.contains("fp32"), "{error}");
    }
}
