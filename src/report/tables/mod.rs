//! The tables that Espalier shows, each made from the rows that the core returns.

mod accuracy;
mod data;
mod eval;
mod model;
mod onnx;
mod prune;
mod race;
mod run;
mod scan;
mod sweep;

pub use accuracy::{AccuracyPicture, confusion, confusion_map, f1, plot_metrics, precision_recall};
pub use data::dataset_summary;
pub use eval::{bench_layers, bench_report, comparison, detections, metrics};
pub use model::{Extras, filters, headline, layers, summary};
pub use onnx::{exported, onnx_headline};
pub use prune::{branch_scores, criteria, gradual_panels, gradual_steps, mask_scores, plan, plan_diff, scores};
pub use race::{Racer, race, race_panel};
pub use run::{history, plot_run, plot_scales, run_panels, run_times};
pub use scan::{correlation, plot_scan, scan};
pub use sweep::{sweep_pareto, sweep_points, sweep_runs};
