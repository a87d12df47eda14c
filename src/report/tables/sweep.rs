//! What many runs came to.

use std::collections::BTreeSet;

use crate::{
    options::Value,
    report::{
        cell::Cell,
        pareto::{Pareto, ParetoPoint},
        table::{Column, Table},
    },
    sweep::{Outcome, Point, Settings},
};

/// A row for each combination of settings: the mean of every figure over the seeds, its standard deviation where it has one, how
/// many runs there are, and of runs that failed how many and why.
pub fn sweep_points(points: &[Point], title: String) -> Table {
    let settings: BTreeSet<&String> = points.iter().flat_map(|point| point.settings.keys()).collect();
    let figures: BTreeSet<&String> = points.iter().flat_map(|point| point.figures.keys()).collect();
    let spread = |name: &String| points.iter().any(|point| point.figures.get(name).is_some_and(|found| found.sd > 0.0));
    let failed = points.iter().any(|point| !point.errors.is_empty());
    let mut columns: Vec<Column> = settings.iter().map(|name| Column::from(name.as_str())).collect();
    for &name in &figures {
        let column = beside(figure_column(name), &settings);
        let sd = Column::new(format!("{}_sd", column.name), "±");
        columns.push(column);
        if spread(name) {
            columns.push(sd);
        }
    }
    columns.push(Column::from("n"));
    if failed {
        columns.extend([Column::from("failed"), Column::from("error")]);
    }
    let mut table = Table::new(title, columns);
    for point in points {
        let mut row: Vec<Cell> = settings.iter().map(|name| setting(&point.settings, name)).collect();
        for &name in &figures {
            let found = point.figures.get(name);
            row.push(found.map_or(Cell::Missing, |found| figure(name, found.mean)));
            if spread(name) {
                row.push(found.map_or(Cell::Missing, |found| figure(name, found.sd)));
            }
        }
        row.push(point.runs.into());
        if failed {
            row.extend([point.errors.len().into(), point.errors.first().map_or(Cell::Missing, Cell::text)]);
        }
        table.push(row);
    }
    table
}

/// A row for each run: its settings and seed, its figures, or why it failed.
pub fn sweep_runs(outcomes: &[Outcome]) -> Table {
    let settings: BTreeSet<&String> = outcomes.iter().flat_map(|outcome| outcome.job.settings.keys()).collect();
    let figures: BTreeSet<&String> =
        outcomes.iter().flat_map(|outcome| outcome.result.iter().flatten()).map(|(name, _)| name).collect();
    let mut columns = vec![Column::from("run")];
    columns.extend(settings.iter().map(|name| Column::from(name.as_str())));
    columns.push(Column::from("seed"));
    columns.extend(figures.iter().map(|name| beside(figure_column(name), &settings)));
    columns.push(Column::from("error"));
    let mut table = Table::new(format!("{} runs", outcomes.len()), columns);
    for Outcome { job, result } in outcomes {
        let mut row = vec![Cell::from(job.index + 1)];
        row.extend(settings.iter().map(|name| setting(&job.settings, name)));
        row.push(Cell::Int(job.seed as i64));
        let found = |name: &String| result.as_ref().ok().and_then(|figures| figures.get(name));
        row.extend(figures.iter().map(|name| found(name).map_or(Cell::Missing, |value| figure(name, *value))));
        row.push(result.as_ref().err().map_or(Cell::Missing, Cell::text));
        table.push(row);
    }
    table
}

/// What a sweep's picture shows: one figure against another, with the standard deviation of the second.
pub fn sweep_pareto(points: &[Point], x: &str, y: &str) -> Pareto {
    let point = |point: &Point| {
        let (cost, gain) = (point.figures.get(x)?, point.figures.get(y)?);
        let short = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            other => other.to_string(),
        };
        let name = point.settings.iter().map(|(name, value)| format!("{name} {}", short(value)));
        Some(ParetoPoint { name: name.collect::<Vec<_>>().join(", "), x: cost.mean, y: gain.mean, sd: gain.sd })
    };
    let [x_heading, y_heading] = [x, y].map(|name| figure_column(name).heading);
    Pareto {
        title: format!("{y_heading} against {x_heading}: mean and standard deviation, and the front"),
        x: x_heading,
        y: y_heading,
        points: points.iter().filter_map(point).collect(),
    }
}

fn setting(settings: &Settings, name: &str) -> Cell {
    match settings.get(name) {
        None => Cell::Missing,
        Some(Value::Flag(flag)) => Cell::Flag(*flag),
        Some(Value::Int(number)) => Cell::Int(*number),
        Some(Value::Number(number)) => Cell::Float(*number),
        Some(Value::Text(text)) => Cell::text(text),
        Some(other @ (Value::Texts(_) | Value::Numbers(_) | Value::Map(_))) => Cell::text(other.to_string()),
    }
}

/// A figure's column under a name of its own where a setting has that name.
fn beside(column: Column, settings: &BTreeSet<&String>) -> Column {
    match settings.contains(&column.name) {
        true => Column { name: format!("run_{}", column.name), ..column },
        false => column,
    }
}

fn figure_column(name: &str) -> Column {
    let heading = match name {
        "map" => "mAP50-95",
        "map50" => "mAP50",
        "macs" => "MACs",
        "params" => "parameters",
        "seconds" => "time",
        other => other,
    };
    Column::new(name, heading)
}

fn figure(name: &str, value: f64) -> Cell {
    match name {
        "macs" | "params" => Cell::Count(value.max(0.0).round() as u64),
        "seconds" => Cell::Seconds(value),
        _ => Cell::Float(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::{Job, points};

    fn outcome(index: usize, macs: f64, result: Result<f64, &str>) -> Outcome {
        let figures = |map| [("map".to_owned(), map), ("macs".to_owned(), macs * 1e9)].into();
        Outcome {
            job: Job { index, settings: [("share".into(), Value::Number(macs))].into(), seed: index as u64 % 2 },
            result: result.map(figures).map_err(String::from),
        }
    }

    #[test]
    fn settings_have_a_row_with_mean_spread_and_failures() {
        let outcomes = [
            outcome(0, 0.25, Ok(0.4)),
            outcome(1, 0.25, Ok(0.5)),
            outcome(2, 0.5, Ok(0.6)),
            outcome(3, 0.5, Err("no memory")),
        ];
        let table = sweep_points(&points(&outcomes), "sweep".into());
        let column = |name: &str| table.column(name).unwrap().into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(column("share"), [Cell::Float(0.25), Cell::Float(0.5)]);
        assert_eq!(column("map"), [Cell::Float(0.45), Cell::Float(0.6)]);
        assert_eq!(column("macs"), [Cell::Count(250_000_000), Cell::Count(500_000_000)]);
        assert_eq!(
            (column("n"), column("failed")),
            (vec![Cell::Int(2), Cell::Int(1)], vec![Cell::Int(0), Cell::Int(1)])
        );
        assert_eq!(column("error")[1], Cell::text("no memory"));
        // Nothing varies in the MACs.
        assert!(table.column("macs_sd").is_err() && table.column("map_sd").is_ok());
        // A setting may have the name of a figure.
        let twice = outcomes.clone().map(|mut outcome| {
            outcome.job.settings.insert("macs".into(), Value::Number(0.5));
            outcome
        });
        let table = sweep_points(&points(&twice), "sweep".into());
        assert_eq!(table.column("macs").unwrap()[0], &Cell::Float(0.5));
        assert_eq!(table.column("run_macs").unwrap()[0], &Cell::Count(250_000_000));
        let runs = sweep_runs(&outcomes);
        assert_eq!((runs.len(), runs.column("error").unwrap()[3]), (4, &Cell::text("no memory")));
        let pareto = sweep_pareto(&points(&outcomes), "macs", "map");
        assert_eq!(pareto.points[0].name, "share 0.25");
        assert_eq!((pareto.x.as_str(), pareto.y.as_str(), pareto.front()), ("MACs", "mAP50-95", vec![0, 1]));
    }
}
