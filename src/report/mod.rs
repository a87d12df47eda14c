//! What the core found, made readable: typed tables, plots.

mod cell;
mod draw;
mod drawing;
mod error;
mod export;
mod font;
mod heat_map;
mod page;
mod pareto;
mod picture;
mod plot;
mod render;
mod sheet;
mod table;
mod tables;
mod terminal;

pub use cell::Cell;
pub use draw::{LabelledBox, class_colour, draw_boxes};
pub use error::{Error, Result};
pub use heat_map::{HeatMap, plot_heat_map};
pub use page::{gradual_report, run_report, sweep_report};
pub use pareto::{Pareto, ParetoPoint, plot_pareto};
pub use picture::save_picture;
pub use plot::{Panel, Series, plot};
pub use render::View;
pub use sheet::contact_sheet;
pub use table::{Aggregate, Column, Order, Table};
pub use tables::{
    AccuracyPicture, Extras, Racer, bench_layers, bench_report, branch_scores, comparison, confusion, confusion_map,
    correlation, criteria, dataset_summary, detections, exported, f1, filters, gradual_panels, gradual_steps, headline,
    history, layers, mask_scores, metrics, onnx_headline, plan, plan_diff, plot_metrics, plot_run, plot_scales,
    plot_scan, precision_recall, race, race_panel, run_panels, run_times, scan, scores, summary, sweep_pareto,
    sweep_points, sweep_runs,
};
pub use terminal::{curves, histogram, terminal_width};
