//! Pages: what a run came to as one HTML file.

mod html;
mod images;
mod layers;
mod run;
mod sweep;

pub use run::{gradual_report, run_report};
pub use sweep::sweep_report;

#[cfg(test)]
mod tests;
