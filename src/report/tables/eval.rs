use super::count;
use crate::eval::{BenchReport, Compared, Detection, LayerTime, Metrics, Score};
use crate::report::{Cell, Column, Table};

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
        [name, count(images), count(labels)].into_iter().chain(figures.map(Cell::Float))
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

/// One row: how fast something is that handles batches.
pub fn bench_report(title: &str, report: &BenchReport) -> Table {
    let columns = [
        Column::new("size", "px"),
        Column::from("batch"),
        Column::from("threads"),
        Column::from("runs"),
        Column::from("median"),
        Column::from("spread"),
        Column::from("fastest"),
        Column::from("slowest"),
        Column::new("images_per_second", "images/s"),
        Column::new("macs_per_second", "MACs/s"),
        Column::new("peak_share", "of peak"),
        Column::new("peak_memory", "peak memory"),
    ];
    let mut table = Table::new(format!("{title} · seconds a batch, spread between the quartiles"), columns);
    let [fastest, slowest] = report.timing.range();
    table.push([
        Cell::from(report.size),
        report.batch.into(),
        report.threads.into(),
        report.timing.runs().into(),
        Cell::Seconds(report.timing.median()),
        Cell::Seconds(report.timing.spread()),
        Cell::Seconds(fastest),
        Cell::Seconds(slowest),
        Cell::Float(report.images_per_second),
        Cell::Count(report.macs_per_second as u64),
        report.peak_flops.map_or(Cell::Missing, |peak| Cell::Percent(2.0 * report.macs_per_second / peak)),
        report.peak_memory.map_or(Cell::Missing, Cell::Bytes),
    ]);
    table
}

/// A row for each step of the graph: how long it takes, and how many operations a second it makes of that.
pub fn bench_layers(title: &str, report: &BenchReport) -> Table {
    let backwards = report.layers.iter().any(|layer| layer.backward.is_some());
    let mut columns = vec![
        Column::from("layer"),
        Column::from("kind"),
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
    let masked = rows.iter().any(|row| row.sparsity.is_some());
    if masked {
        columns.push(Column::new("sparsity", "zeros"));
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
            cells.push(row.sparsity.map_or(Cell::Missing, Cell::Percent));
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
mod tests {
    use super::*;

    #[test]
    fn a_comparison_shows_what_was_measured() {
        let row = |name: &str, macs, score| Compared {
            name: name.into(),
            params: 10,
            macs,
            bytes: 40,
            sparsity: None,
            latency: None,
            score,
        };
        let rows = [row("a", 100, None), row("b", 50, Some(Score { map: 0.5, ..Score::default() }))];
        let table = comparison(&rows, 320);
        assert_eq!(table.get(1, "macs_share").unwrap(), &Cell::Percent(0.5));
        assert_eq!(table.get(1, "map").unwrap(), &Cell::Float(0.5));
        assert_eq!(table.get(0, "map").unwrap(), &Cell::Missing);
        assert!(table.position("latency").is_err() && table.position("sparsity").is_err());
        let masked = [Compared { sparsity: Some(0.5), ..rows[0].clone() }, rows[1].clone()];
        let table = comparison(&masked, 320);
        assert_eq!(table.get(0, "sparsity").unwrap(), &Cell::Percent(0.5));
        assert_eq!(table.get(1, "sparsity").unwrap(), &Cell::Missing);
    }

    #[test]
    fn off_the_cpu_a_bench_shows_no_figures_of_the_cpu() {
        let report = BenchReport {
            size: 64,
            batch: 1,
            threads: 2,
            timing: crate::eval::Timing::new(vec![0.5]),
            images_per_second: 2.0,
            macs_per_second: 1e9,
            peak_flops: None,
            peak_memory: None,
            layers: Vec::new(),
        };
        let row = |report: &BenchReport| {
            let table = bench_report("net", report);
            ["peak_share", "peak_memory"].map(|column| table.get(0, column).unwrap().clone())
        };
        assert_eq!(row(&report), [Cell::Missing, Cell::Missing]);
        let on_the_cpu = BenchReport { peak_flops: Some(8e9), peak_memory: Some(1024), ..report };
        assert_eq!(row(&on_the_cpu), [Cell::Percent(0.25), Cell::Bytes(1024)]);
    }
}
