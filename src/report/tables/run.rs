//! Tables and curves of training runs.

use std::path::Path;

use crate::report::{
    cell::Cell,
    error::Result,
    plot::{Panel, Series, plot},
    table::{Column, Table},
};
use crate::{distill::is_distilled, graph::Role, model::Model, train::Run};

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
    let figures = run.history.first().into_iter().flat_map(|row| &row.figures);
    columns.extend(figures.map(|(name, _)| Column::new(identifier(name), name)));
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
        row.extend(epoch.figures.iter().map(|&(_, figure)| Cell::Float(figure)));
        table.push(row);
    }
    table
}

/// A row for each thing that a run spent time on: seconds, and their share of the whole.
pub fn run_times(run: &Run) -> Table {
    let columns = [Column::from("part"), Column::new("seconds", "time").sum(), Column::from("share")];
    let mut table = Table::new(format!("where {} went", Cell::Seconds(run.seconds).human()), columns);
    let parts = run.times.parts();
    let other = (run.seconds - parts.iter().map(|(_, seconds)| seconds).sum::<f64>()).max(0.0);
    let spent = parts.into_iter().chain([("other", other)]).filter(|(_, seconds)| *seconds > 0.0);
    for (part, seconds) in spent {
        table.push([part.into(), Cell::Seconds(seconds), Cell::Percent(seconds / run.seconds.max(f64::MIN_POSITIVE))]);
    }
    table
}

/// What a run's picture shows: training losses, those of distillation, validation losses, accuracy, learning rate.
pub fn run_panels(run: &Run) -> Vec<Panel> {
    let epochs = || run.history.iter();
    let series = |name: &str, value: &dyn Fn(&crate::train::Epoch) -> Option<f64>| Series {
        name: name.to_owned(),
        points: epochs().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?))).collect(),
    };
    let panel = |title: &str, series: Vec<Series>| Panel { title: title.into(), x: "epoch".into(), series };
    let losses = run.parts.iter().enumerate().map(|(at, part)| series(part, &|epoch| epoch.losses.get(at).copied()));
    let (taught, own) = losses.partition(|loss| is_distilled(&loss.name));
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
        panel("training losses", own),
        panel("distillation losses", taught),
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

/// Draws the magnitudes of the normalisation scales of a model before and after training into an `.svg` or `.png` file: in
/// falling order, and how many lie where.
///
/// # Errors
/// A model without normalisations, another ending, a file that cannot be written.
pub fn plot_scales(before: &Model, after: &Model, path: &Path) -> Result<()> {
    plot(&scale_panels([("before", before), ("after", after)])?, path)
}

/// How many bars the histogram of scales has.
const BARS: usize = 40;

fn scale_panels(models: [(&str, &Model); 2]) -> Result<[Panel; 2]> {
    let scales = models.iter().map(|(name, model)| Ok((*name, scales(model)?))).collect::<Result<Vec<_>>>()?;
    let largest = scales.iter().flat_map(|(_, scales)| scales).fold(0.0f64, |most, &scale| most.max(scale));
    let width = if largest > 0.0 { largest / BARS as f64 } else { 1.0 };
    let sorted = scales.iter().map(|(name, scales)| {
        let zeros = scales.iter().filter(|&&scale| scale == 0.0).count();
        let share = |at: usize| 100.0 * at as f64 / scales.len().max(1) as f64;
        let points = scales.iter().enumerate().map(|(at, &scale)| (share(at), scale)).collect();
        Series { name: format!("{name} ({zeros} of {} are zero)", scales.len()), points }
    });
    let counted = scales.iter().map(|(name, scales)| {
        let mut counts = [0usize; BARS];
        scales.iter().for_each(|scale| counts[((scale / width) as usize).min(BARS - 1)] += 1);
        let middle = |at: usize| (at as f64 + 0.5) * width;
        let points = counts.iter().enumerate().map(|(at, &count)| (middle(at), count as f64)).collect();
        Series { name: (*name).to_owned(), points }
    });
    let panel = |title: &str, x: &str, series| Panel { title: title.into(), x: x.into(), series };
    Ok([
        panel("normalisation scales in falling order", "share of the channels, %", sorted.collect()),
        panel("normalisation scales: how many lie where", "|scale|", counted.collect()),
    ])
}

/// Magnitudes of all normalisation scales of a model, largest first.
fn scales(model: &Model) -> Result<Vec<f64>> {
    let owned = model.graph().parameters().filter(|(_, _, parameter)| parameter.role == Role::NormScale);
    let mut all = Vec::new();
    for (_, name, _) in owned {
        let values = model.tensors()[&name].flatten_all()?.to_vec1::<f32>()?;
        all.extend(values.into_iter().map(|scale| f64::from(scale.abs())));
    }
    all.sort_by(|a, b| b.total_cmp(a));
    Ok(all)
}

fn identifier(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::tiny_detector;

    #[test]
    fn scales_are_drawn_in_falling_order_and_counted() {
        let before = tiny_detector(2);
        let mut tensors = before.tensors().clone();
        let name = tensors.keys().find(|name| name.ends_with("bn.weight")).unwrap().clone();
        let count = tensors[&name].elem_count();
        let scales: Vec<f32> = (0..count).map(|channel| channel as f32 * -0.5).collect();
        tensors.insert(name, candle_core::Tensor::new(scales, &before.device()).unwrap());
        let after = before.with_tensors(tensors).unwrap();
        let [sorted, counted] = scale_panels([("before", &before), ("after", &after)]).unwrap();
        let series = &sorted.series[1];
        assert_eq!(series.name, format!("after (1 of {count} are zero)"));
        let largest = (count - 1) as f64 * 0.5;
        assert_eq!((series.points[0], series.points[count - 1].1), ((0.0, largest), 0.0));
        for series in counted.series {
            assert_eq!(series.points.iter().map(|(_, count)| count).sum::<f64>(), count as f64);
        }
        let folder = tempfile::tempdir().unwrap();
        plot_scales(&before, &after, &folder.path().join("scales.png")).unwrap();
    }
}
