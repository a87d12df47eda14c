//! What the core found, made readable: typed tables, plots.

mod cell;
mod draw;
mod error;
mod export;
mod font;
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
pub use picture::save_picture;
pub use plot::{Panel, Series, plot};
pub use render::View;
pub use sheet::contact_sheet;
pub use table::{Aggregate, Column, Order, Table};
pub use tables::{
    Extras, bench_layers, bench_report, comparison, criteria, dataset_summary, detections, filters, headline, history,
    layers, metrics, plan, plot_run, plot_scales, run_panels, scores, summary,
};
pub use terminal::{curves, histogram, terminal_width};
