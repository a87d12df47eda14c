//! Tables and curves of training runs.

use std::path::Path;

use crate::report::{
    cell::Cell,
    error::Result,
    plot::{Panel, Series, plot},
    table::{Column, Table},
};
use crate::train::Run;

/// A row for each epoch: losses, validation, learning rate.
pub fn history(run: &Run) -> Table {
    let mut columns = vec![Column::from("epoch"), Column::new("seconds", "time")];
    columns.extend(run.parts.iter().map(|part| Column::new(identifier(part), part)));
    columns.extend([
        Column::from("precision"),
        Column::from("recall"),
        Column::new("map50", "mAP50"),
        Column::new("map", "mAP50-95"),
    ]);
    columns.extend(
        run.validation_parts.iter().map(|part| Column::new(format!("val_{}", identifier(part)), format!("val {part}"))),
    );
    columns.push(Column::new("lr", "learning rate"));
    let best = run.best.map(|epoch| format!(" · best epoch {epoch}")).unwrap_or_default();
    let stopped = if run.stopped { " · stopped early" } else { "" };
    let title = format!("{} epochs in {}{best}{stopped}", run.history.len(), Cell::Seconds(run.seconds).human());
    let mut table = Table::new(title, columns);
    for epoch in &run.history {
        let mut row: Vec<Cell> = vec![epoch.epoch.into(), Cell::Seconds(epoch.seconds)];
        row.extend(epoch.losses.iter().map(|&loss| Cell::Float(loss)));
        let found = epoch.validation.as_ref();
        let figures = found.map(|found| [found.precision, found.recall, found.map50, found.map]);
        row.extend(figures.map_or([const { Cell::Missing }; 4], |figures| figures.map(Cell::Float)));
        row.extend(
            (0..run.validation_parts.len()).map(|at| found.and_then(|found| found.losses.get(at)).copied().into()),
        );
        row.push(Cell::Float(epoch.lr[1].into()));
        table.push(row);
    }
    table
}

/// What a run's picture shows: training losses, validation losses, accuracy, learning rate.
pub fn run_panels(run: &Run) -> Vec<Panel> {
    let epochs = || run.history.iter();
    let series = |name: &str, value: &dyn Fn(&crate::train::Epoch) -> Option<f64>| Series {
        name: name.to_owned(),
        points: epochs().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?))).collect(),
    };
    let panel = |title: &str, series: Vec<Series>| Panel { title: title.into(), x: "epoch".into(), series };
    let losses = run.parts.iter().enumerate().map(|(at, part)| series(part, &|epoch| epoch.losses.get(at).copied()));
    let validation = run
        .validation_parts
        .iter()
        .enumerate()
        .map(|(at, part)| series(part, &|epoch| epoch.validation.as_ref()?.losses.get(at).copied()));
    let accuracy = vec![
        series("mAP50", &|epoch| Some(epoch.validation.as_ref()?.map50)),
        series("mAP50-95", &|epoch| Some(epoch.validation.as_ref()?.map)),
        series("precision", &|epoch| Some(epoch.validation.as_ref()?.precision)),
        series("recall", &|epoch| Some(epoch.validation.as_ref()?.recall)),
    ];
    vec![
        panel("training losses", losses.collect()),
        panel("validation losses", validation.collect()),
        panel("validation", accuracy),
        panel("learning rate", vec![series("weights", &|epoch| Some(epoch.lr[1].into()))]),
    ]
}

/// Draws a run's picture into an `.svg` or `.png` file.
///
/// # Errors
/// A run without a finished epoch, another ending, a file that cannot be written.
pub fn plot_run(run: &Run, path: &Path) -> Result<()> {
    plot(&run_panels(run), path)
}

fn identifier(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(plain).collect()
}
