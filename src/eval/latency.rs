//! How long things take, and how much memory.

use std::time::Instant;

use candle_core::{Device, Tensor};
use espalier_kernels::{allocator::Borrowing, peak};
use serde::{Deserialize, Serialize};

use super::{
    error::EvalError,
    layer_times::{LayerTime, layer_times},
    network::{Network, inference},
    options::BenchOptions,
    subject::Subject,
    timing::Timing,
};
use crate::{
    exec::{ComputeDtype, Inference, StepTimes},
    model::Model,
    progress::Progress,
};

/// What a measurement found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Side of the square images in pixels.
    pub size: usize,
    /// Images a batch.
    pub batch: usize,
    /// CPU threads that were used.
    pub threads: usize,
    /// Seconds a batch.
    pub timing: Timing,
    /// Images a second at the median.
    pub images_per_second: f64,
    /// Multiply-accumulates a second at the median.
    pub macs_per_second: f64,
    /// What convolutions multiplied.
    pub precision: ComputeDtype,
    /// The instructions that the kernels used; `None` on another device, and for a file in another engine.
    pub instructions: Option<String>,
    /// Floating-point operations a second that the CPU's threads reach at most, measured beside; `None` on another device,
    /// whose peak is not known.
    pub peak_flops: Option<f64>,
    /// Bytes of memory that the process held at most since it began, where the system says (Linux); `None` on another
    /// device, which has memory of its own.
    pub peak_memory: Option<u64>,
    /// Where the time goes, in the order of the graph; empty where the model's device, or the engine of a file, cannot say.
    pub layers: Vec<LayerTime>,
}

/// Times inference of a batch, of a model of ours or an ONNX file: the network alone, made ready before, from images in memory to raw outputs.
///
/// # Errors
/// Options out of range, a network that does not run, or a listener that asks to stop.
pub fn bench<'a>(
    model: impl Into<Subject<'a>>,
    options: &BenchOptions,
    progress: &dyn Progress,
) -> Result<BenchReport, EvalError> {
    let _memory = Borrowing::begin();
    let subject = model.into();
    options.validate(subject)?;
    let model = match subject {
        Subject::Model(model) => model,
        Subject::Onnx(_) => return bench_file(subject, options, progress),
    };
    let (network, images) = (inference(model, options.precision)?, noise(model, options)?);
    let what = Measured {
        passes: 1,
        step: &mut || infer(&network, &images),
        profile: &mut || Ok(network.run_timed(&images)?.1),
    };
    measure(model, options, what, progress)
}

/// [`bench`] of a file in another engine, which does not say where the time goes.
fn bench_file(subject: Subject, options: &BenchOptions, progress: &dyn Progress) -> Result<BenchReport, EvalError> {
    let (network, images) =
        (Network::new(subject, options.precision, options.threads)?, noise_on(&Device::Cpu, options)?);
    let (mut timings, peak_flops) = with_threads(options.threads, || {
        let mut step = || network.run(&images).map(|_| ());
        let timings = time_runs(options.warm_up, options.runs, progress, &mut [&mut step])?;
        Ok::<_, EvalError>((timings, peak::flops_per_second(options.precision)))
    })??;
    let macs = subject.macs(options.size)?;
    let report = BenchReport::new(options, timings.remove(0), macs, Some(peak_flops), Vec::new());
    Ok(BenchReport { instructions: None, ..report })
}

impl BenchReport {
    /// What a measurement comes to, of batches of `options` with so many multiply-accumulates an image; `peak_flops` is that of
    /// a CPU.
    fn new(options: &BenchOptions, timing: Timing, macs: u64, peak_flops: Option<f64>, layers: Vec<LayerTime>) -> Self {
        let images_per_second = options.batch as f64 / timing.median();
        Self {
            size: options.size,
            batch: options.batch,
            threads: options.threads.unwrap_or_else(rayon::current_num_threads),
            timing,
            images_per_second,
            macs_per_second: macs as f64 * images_per_second,
            precision: options.precision,
            instructions: peak_flops.map(|_| options.precision.instructions().to_owned()),
            peak_flops,
            peak_memory: peak_flops.and_then(|_| peak_memory()),
            layers,
        }
    }
}

/// What [`measure`] measures.
pub struct Measured<'a> {
    /// How many times as many multiply-accumulates as a forward pass has: 3 for training, where two gradients are
    /// computed for each product.
    pub passes: u32,
    /// What handles a batch.
    pub step: &'a mut (dyn FnMut() -> Result<(), EvalError> + Send),
    /// Runs the network once, and says where the time went.
    pub profile: &'a mut (dyn FnMut() -> Result<StepTimes, EvalError> + Send),
}

/// Times something that handles a batch, as a whole and by layers.
///
/// # Errors
/// Where the network does not run at that size, those of what is measured, or a listener that asks to stop.
pub fn measure(
    model: &Model,
    options: &BenchOptions,
    what: Measured,
    progress: &dyn Progress,
) -> Result<BenchReport, EvalError> {
    let Measured { passes, step, profile } = what;
    let on_cpu = model.device().is_cpu();
    let (mut timings, times, peak_flops) = with_threads(options.threads, || {
        let timings = time_runs(options.warm_up, options.runs, progress, &mut [step])?;
        let times = (0..options.runs.min(PROFILES)).map(|_| profile()).collect::<Result<Vec<_>, EvalError>>()?;
        Ok::<_, EvalError>((timings, times, on_cpu.then(|| peak::flops_per_second(options.precision))))
    })??;
    let macs = model.cost(options.size)?.macs * u64::from(passes);
    let layers = layer_times(model, options, passes == 1, &times)?;
    Ok(BenchReport::new(options, timings.remove(0), macs, peak_flops, layers))
}

/// Runs that are timed layer by layer, at most.
const PROFILES: usize = 10;

/// What is timed.
pub type Timed<'a> = &'a mut (dyn FnMut() -> Result<(), EvalError> + Send);

/// Times several candidates in turn, so that what disturbs the machine disturbs all of them: `warm_up` rounds that do
/// not count, then `runs` that do. Gives a timing each, in order.
///
/// # Errors
/// Those of the candidates, or a listener that asks to stop.
///
/// # Panics
/// With `runs` = 0.
pub fn time_runs(
    warm_up: usize,
    runs: usize,
    progress: &dyn Progress,
    candidates: &mut [Timed],
) -> Result<Vec<Timing>, EvalError> {
    let total = warm_up + runs;
    let mut seconds = vec![Vec::with_capacity(runs); candidates.len()];
    progress.start("measure", Some(total as u64));
    let mut rounds = || {
        for round in 0..total {
            for (candidate, seconds) in candidates.iter_mut().zip(&mut seconds) {
                let start = Instant::now();
                candidate()?;
                if round >= warm_up {
                    seconds.push(start.elapsed().as_secs_f64());
                }
            }
            progress.advance(round as u64 + 1, "");
            if progress.stop_requested() {
                return Err(EvalError::Stopped { what: "runs", done: round + 1, total });
            }
        }
        Ok(())
    };
    let result = rounds();
    progress.finish();
    result.map(|()| seconds.into_iter().map(Timing::new).collect())
}

/// Calls `work` on a pool of that many CPU threads, or on the one there is.
///
/// # Errors
/// Where the threads cannot be started.
pub fn with_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T, EvalError> {
    let Some(threads) = threads else { return Ok(work()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| EvalError::Threads { threads, reason: error.to_string() })?;
    Ok(pool.install(work))
}

/// Bytes of memory that this process held at most, where the system says (Linux).
pub fn peak_memory() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The bytes of the line `VmHWM` of a process's status.
fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// One forward pass, waited for.
fn infer(network: &Inference, images: &Tensor) -> Result<(), EvalError> {
    network.run(images)?;
    Ok(images.device().synchronize()?)
}

/// A batch of images that hold noise, the same each time, on the model's device: (batch, 3, size, size).
pub(crate) fn noise(model: &Model, options: &BenchOptions) -> Result<Tensor, EvalError> {
    noise_on(&model.device(), options)
}

/// [`noise`] on a device.
pub(super) fn noise_on(device: &Device, options: &BenchOptions) -> Result<Tensor, EvalError> {
    let count = options.batch * 3 * options.size * options.size;
    let mut state = 1u32;
    let pixels: Vec<f32> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    })
    .take(count)
    .collect();
    let images = Tensor::from_vec(pixels, (options.batch, 3, options.size, options.size), &Device::Cpu)?;
    Ok(images.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::fixtures::tiny_detector, progress::Silent};

    #[test]
    fn candidates_run_in_turn_and_warm_up_does_not_count() {
        let order = std::sync::Mutex::new(String::new());
        let push = |name: char| {
            order.lock().unwrap().push(name);
            Ok(())
        };
        let timings = time_runs(1, 3, &Silent, &mut [&mut || push('a'), &mut || push('b')]).unwrap();
        assert_eq!(order.into_inner().unwrap(), "abababab");
        assert_eq!(timings.iter().map(Timing::runs).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn failures_come_through() {
        let mut fails = || Err(EvalError::Outputs("wrong".into()));
        assert!(time_runs(0, 2, &Silent, &mut [&mut fails]).is_err());
    }

    #[test]
    fn inference_is_timed() {
        let model = tiny_detector(2);
        let options =
            BenchOptions { size: 64, batch: 3, runs: 4, warm_up: 1, threads: Some(1), ..BenchOptions::default() };
        let report = bench(&model, &options, &Silent).unwrap();
        assert_eq!((report.timing.runs(), report.threads, report.batch, report.size), (4, 1, 3, 64));
        let median = report.timing.median();
        assert!(median > 0.0 && (report.images_per_second * median - 3.0).abs() < 1e-9);
        let macs = model.cost(64).unwrap().macs as f64;
        assert!((report.macs_per_second / (macs * report.images_per_second) - 1.0).abs() < 1e-9);
        assert!(report.peak_flops.is_some_and(|peak| peak > 2.0 * report.macs_per_second));
        let convolutions = model.layers(64).unwrap().iter().filter(|layer| layer.macs > 0).count();
        assert_eq!(report.layers.iter().filter(|layer| layer.macs > 0).count(), convolutions);
        assert!(report.layers.iter().all(|layer| layer.forward > 0.0 && layer.backward.is_none()));
        for wrong in [BenchOptions { runs: 0, ..options }, BenchOptions { threads: Some(0), ..options }] {
            assert!(matches!(bench(&model, &wrong, &Silent), Err(EvalError::Option { .. })));
        }
    }

    /// Layers of twelve channels and more go Winograd's way in fp32, others multiply bf16.
    #[test]
    fn inference_in_bf16_is_told_or_refused() {
        let model = crate::io::teacher().unwrap();
        let options =
            BenchOptions { size: 64, runs: 1, warm_up: 0, precision: ComputeDtype::Bf16, ..BenchOptions::default() };
        let report = match bench(&model, &options, &Silent) {
            Ok(report) => report,
            Err(error) => {
                assert!(!ComputeDtype::Bf16.is_native() && error.to_string().contains("AVX-512 BF16"), "{error}");
                return;
            }
        };
        assert_eq!(report.instructions.as_deref(), Some("AVX-512 BF16"));
        let ways = report.layers.iter().filter_map(|layer| layer.way.as_deref());
        let count = |way: &str| ways.clone().filter(|found| *found == way).count();
        let all = [count("direct bf16"), count("Winograd fp32"), count("direct fp32")];
        assert!(all[0] > 20 && all[1] > 10 && all[2] == 0, "{all:?}");
        let images = noise(&model, &options).unwrap();
        let outputs = |precision| inference(&model, precision).unwrap().run(&images).unwrap().outputs;
        for (exact, rounded) in outputs(ComputeDtype::Fp32).iter().zip(outputs(ComputeDtype::Bf16)) {
            let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (exact, rounded) = (numbers(exact), numbers(&rounded));
            let largest = exact.iter().fold(0.0f32, |most, number| most.max(number.abs()));
            let apart = exact.iter().zip(&rounded).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(0.0 < apart && apart < 0.05 * largest, "{apart} of {largest}");
        }
    }

    #[test]
    fn threads_are_those_asked_for() {
        assert_eq!(with_threads(Some(3), rayon::current_num_threads).unwrap(), 3);
        assert_eq!(with_threads(None, rayon::current_num_threads).unwrap(), rayon::current_num_threads());
    }

    #[test]
    fn peak_memory_is_read_from_the_status() {
        let status = "Name:\tespalier\nVmPeak:\t 9000 kB\nVmHWM:\t  1234 kB\nVmRSS:\t 99 kB\n";
        assert_eq!(high_water_mark(status), Some(1234 * 1024));
        assert_eq!(high_water_mark("Name:\tespalier\n"), None);
        #[cfg(target_os = "linux")]
        assert!(peak_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
