//! What runs borrow: how much, and that it goes back.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicI64, Ordering},
};

use candle_core::{Device, Tensor};
use espalier::{
    data::{ShapesOptions, shapes},
    exec::{Inference, Observer, ObserverError},
    graph::NodeId,
    progress::Progress,
    train::{FitOptions, fit},
    zoo::{Fresh, yolo},
};
use espalier_kernels::allocator;

const MB: i64 = 1 << 20;

/// Bytes of memory that the process holds, where the system says.
fn resident() -> Option<i64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<i64>().ok()?;
    Some(pages * 4096)
}

/// One test at a time, from a state without idle memory.
fn alone() -> (MutexGuard<'static, ()>, Option<i64>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    allocator::keep_freed_memory();
    allocator::give_back();
    let before = resident();
    if before.is_none() {
        eprintln!("skipped: /proc/self/statm is not there to say how much memory the process holds");
    }
    (guard, before)
}

/// Watches the memory of the process while work goes on.
#[derive(Default)]
struct Watch {
    most: AtomicI64,
}

impl Progress for Watch {
    fn advance(&self, _: u64, _: &str) {
        self.most.fetch_max(resident().unwrap_or(0), Ordering::Relaxed);
    }
}

#[test]
fn what_training_borrowed_goes_back() {
    let (_alone, Some(before)) = alone() else { return };
    let mut drawn = ShapesOptions::default();
    (drawn.train, drawn.val, drawn.size) = (8, 1, 64);
    let data = shapes(&drawn).unwrap();
    let model = yolo("yolov5n", &Fresh::numbered(6)).unwrap();
    let mut options = FitOptions::default();
    (options.epochs, options.batch, options.size) = (1, 8, 320);
    let watch = Watch::default();
    let run = fit(&model, &data, &options, &watch).unwrap();
    let [borrowed, held] = [watch.most.into_inner(), resident().unwrap()].map(|now| now - before);
    assert!(borrowed > 200 * MB, "{} MB: the test needs a run that borrows much", borrowed / MB);
    // What stays is the result, the dataset, and pages of the program that ran for the first time.
    assert!(held < borrowed / 2, "{} MB of {} are held by what is idle", held / MB, borrowed / MB);
    drop(run);
}

/// Adds up how large what it sees is, and watches the memory of the process meanwhile.
#[derive(Default)]
struct Sizes {
    seen: i64,
    largest: i64,
    most: i64,
}

impl Observer for Sizes {
    fn wants(&self, _: NodeId) -> bool {
        true
    }

    fn value(&mut self, _: NodeId, value: &Tensor) -> Result<(), ObserverError> {
        let bytes = 4 * value.elem_count() as i64;
        self.seen += bytes;
        self.largest = self.largest.max(bytes);
        self.most = self.most.max(resident().ok_or("the memory is not known")?);
        Ok(())
    }
}

#[test]
fn an_observer_of_every_value_needs_the_memory_of_few() {
    let (_alone, Some(_)) = alone() else { return };
    let model = yolo("yolov5n", &Fresh::numbered(6)).unwrap();
    let all = (0..model.graph().nodes().len()).collect();
    let mut options = espalier::exec::InferenceOptions::default();
    options.observed = all;
    let backend = espalier::exec::Backend::for_device(&Device::Cpu);
    let network = Inference::with_options(backend, &model, options).unwrap();
    let images = Tensor::zeros((4, 3, 480, 480), candle_core::DType::F32, &Device::Cpu).unwrap();
    allocator::give_back();
    let before = resident().unwrap();
    let mut sizes = Sizes::default();
    network.run_observed(&images, &mut sizes).unwrap();
    let Sizes { seen, largest, most } = sizes;
    let held = most - before;
    assert!(seen > 20 * largest, "{seen} of {largest}: the test needs many values");
    assert!(
        held < 8 * largest,
        "{} MB held for values of {} MB in all, {} MB the largest",
        held / MB,
        seen / MB,
        largest / MB
    );
}
