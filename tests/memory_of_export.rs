//! An export borrows little beside the model: four times its weights at most.

use espalier::{
    io::onnx::{ExportOptions, export},
    progress::Silent,
    zoo::{Fresh, yolo},
};
use peak_alloc::PeakAlloc;

/// Counts what is allocated: pages that the process keeps say more about the allocator.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

#[test]
fn an_export_borrows_four_times_the_weights_at_most() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["yolov5n", "yolov8n"] {
        let model = yolo(name, &Fresh::numbered(3)).unwrap();
        let weights = 4 * model.cost(640).unwrap().params as usize;
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        export(&model, folder.path().join("slim.onnx"), &ExportOptions::default(), &Silent).unwrap();
        let peak = ALLOCATED.peak_usage() - before;
        assert!(peak <= 4 * weights, "{name}: {peak} bytes, {:.2} times its weights", peak as f64 / weights as f64);
    }
}
