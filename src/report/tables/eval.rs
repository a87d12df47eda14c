//! Tables of evaluations, measurements and comparisons.

use crate::eval::{BenchReport, Compared, Detection, LayerTime, Metrics, Score};
use crate::report::{
    cell::Cell,
    table::{Column, Table},
};

/// A row for each class that has labels, and the means below.
pub fn metrics(metrics: &Metrics) -> Table {
    let title = format!(
        "{} images of {} at {} px · AP by the rule of {} · {}",
        metrics.images,
        metrics.split,
        metrics.size,
        metrics.scores.rule.name(),
        Cell::Seconds(metrics.seconds.total).human()
    );
    let columns = [
        Column::from("class"),
        Column::from("images"),
        Column::from("labels"),
        Column::from("precision"),
        Column::from("recall"),
        Column::new("map50", "mAP50"),
        Column::new("map75", "mAP75"),
        Column::new("map", "mAP50-95"),
    ];
    let mut table = Table::new(title, columns);
    let row = |name: Cell, images, labels, score: &Score| {
        let figures = [score.precision, score.recall, score.map50, score.map75, score.map];
        [name, Cell::count(images), Cell::count(labels)].into_iter().chain(figures.map(Cell::Float))
    };
    for class in &metrics.scores.classes {
        let name = metrics.class_names.get(class.class).cloned().unwrap_or_else(|| class.class.to_string());
        table.push(row(name.into(), class.images, class.labels, &class.score));
    }
    table.set_totals(row("all".into(), metrics.images, metrics.labels, &metrics.scores.overall));
    table
}

/// A row for each box, most confident first.
pub fn detections(title: &str, found: &[Detection], classes: &[String]) -> Table {
    let columns = ["class", "confidence", "left", "top", "right", "bottom"];
    let mut table = Table::new(format!("{title} · {} boxes", found.len()), columns);
    for detection in found {
        let name = classes.get(detection.class).cloned().unwrap_or_else(|| detection.class.to_string());
        let corners = detection.corners.map(|corner| Cell::Float(f64::from(corner)));
        table.push([name.into(), Cell::Float(detection.confidence.into())].into_iter().chain(corners));
    }
    table
}

/// One row: how fast something is that handles batches. Columns without a figure are left out.
pub fn bench_report(title: &str, report: &BenchReport) -> Table {
    let [fastest, slowest] = report.timing.range();
    let share = report.peak_flops.map(|peak| Cell::Percent(2.0 * report.macs_per_second / peak));
    let columns = [
        (Column::new("size", "px"), Some(Cell::from(report.size))),
        (Column::from("batch"), Some(report.batch.into())),
        (Column::from("threads"), Some(report.threads.into())),
        (Column::from("precision"), Some(report.precision.name().into())),
        (Column::from("instructions"), report.instructions.as_deref().map(Cell::from)),
        (Column::from("runs"), Some(report.timing.runs().into())),
        (Column::from("median"), Some(Cell::Seconds(report.timing.median()))),
        (Column::from("spread"), Some(Cell::Seconds(report.timing.spread()))),
        (Column::from("fastest"), Some(Cell::Seconds(fastest))),
        (Column::from("slowest"), Some(Cell::Seconds(slowest))),
        (Column::new("images_per_second", "images/s"), Some(Cell::Float(report.images_per_second))),
        (Column::new("macs_per_second", "MACs/s"), Some(Cell::Count(report.macs_per_second as u64))),
        (Column::new("peak_share", "of peak"), share),
        (Column::new("peak_memory", "peak memory"), report.peak_memory.map(Cell::Bytes)),
    ];
    let (columns, row): (Vec<Column>, Vec<Cell>) =
        columns.into_iter().filter_map(|(column, cell)| Some((column, cell?))).unzip();
    let mut table = Table::new(format!("{title} · seconds a batch, spread between the quartiles"), columns);
    table.push(row);
    table
}

/// A row for each step of the graph: how long it takes, and how many operations a second it makes of that.
pub fn bench_layers(title: &str, report: &BenchReport) -> Table {
    let backwards = report.layers.iter().any(|layer| layer.backward.is_some());
    let mut columns = vec![
        Column::from("layer"),
        Column::from("kind"),
        Column::from("way"),
        Column::from("output"),
        Column::new("macs", "MACs").sum(),
        Column::from("seconds").sum(),
        Column::from("share").sum(),
        Column::from("forward").sum(),
        Column::new("forward_gflops", "GFLOP/s"),
    ];
    if backwards {
        columns.extend([Column::from("backward").sum(), Column::new("backward_gflops", "GFLOP/s")]);
    }
    let mut table =
        Table::new(format!("{title} · {} images of {} px, layer by layer", report.batch, report.size), columns);
    let whole: f64 = report.layers.iter().map(LayerTime::seconds).sum();
    let gflops = |macs: u64, seconds: f64| match macs {
        0 => Cell::Missing,
        macs => Cell::Float(2.0 * macs as f64 / seconds / 1e9),
    };
    for layer in &report.layers {
        let [channels, height, width] = layer.output;
        let mut cells = vec![
            layer.layer.clone().into(),
            layer.kind.clone().into(),
            layer.way.as_deref().map_or(Cell::Missing, Cell::from),
            format!("{channels}×{height}×{width}").into(),
            Cell::Count(layer.macs),
            Cell::Seconds(layer.seconds()),
            Cell::Percent(layer.seconds() / whole),
            Cell::Seconds(layer.forward),
            gflops(layer.macs, layer.forward),
        ];
        if backwards {
            cells.push(layer.backward.map_or(Cell::Missing, Cell::Seconds));
            cells.push(layer.backward.map_or(Cell::Missing, |seconds| gflops(2 * layer.macs, seconds)));
        }
        table.push(cells);
    }
    table
}

/// A row for each model; shares are of the first one's. Columns of what wasn't measured are left out.
pub fn comparison(rows: &[Compared], size: usize) -> Table {
    let timed = rows.iter().any(|row| row.latency.is_some());
    let scored = rows.iter().any(|row| row.score.is_some());
    let mut columns = vec![
        Column::from("model"),
        Column::new("params", "parameters"),
        Column::new("params_share", "of first"),
        Column::new("macs", "MACs"),
        Column::new("macs_share", "of first"),
        Column::new("bytes", "fp32 size"),
    ];
    let masked = rows.iter().any(|row| row.sparsity > 0.0);
    if masked {
        columns.extend([Column::new("sparsity", "zeros"), Column::new("near_zeros", "near 0")]);
    }
    if timed {
        columns.extend([Column::from("latency"), Column::from("spread"), Column::new("speedup", "speed-up")]);
    }
    if scored {
        columns.extend([
            Column::from("precision"),
            Column::from("recall"),
            Column::new("map50", "mAP50"),
            Column::new("map", "mAP50-95"),
        ]);
    }
    let mut table = Table::new(format!("comparison at {size} px"), columns);
    let share = |value: u64, whole: u64| Cell::Percent(value as f64 / whole.max(1) as f64);
    let first = rows.first();
    let first_time = first.and_then(|first| first.latency.as_ref()).map(|timing| timing.median());
    for row in rows {
        let of = first.unwrap_or(row);
        let mut cells = vec![
            row.name.clone().into(),
            Cell::Count(row.params),
            share(row.params, of.params),
            Cell::Count(row.macs),
            share(row.macs, of.macs),
            Cell::Bytes(row.bytes),
        ];
        if masked {
            cells.extend([row.sparsity, row.near_zeros].map(Cell::Percent));
        }
        if timed {
            let median = row.latency.as_ref().map(|timing| timing.median());
            cells.extend([
                median.map_or(Cell::Missing, Cell::Seconds),
                row.latency.as_ref().map_or(Cell::Missing, |timing| Cell::Seconds(timing.spread())),
                first_time.zip(median).map_or(Cell::Missing, |(first, own)| Cell::Float(first / own)),
            ]);
        }
        if scored {
            let figures = row.score.map(|score| [score.precision, score.recall, score.map50, score.map]);
            cells.extend(
                figures.map_or([Cell::Missing, Cell::Missing, Cell::Missing, Cell::Missing], |f| f.map(Cell::Float)),
            );
        }
        table.push(cells);
    }
    table
}

#[cfg(test)]
#[path = "eval_tests.rs"]
mod tests;
