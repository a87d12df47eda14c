//! Runs beside each other by the time that they take.

use crate::report::{
    cell::Cell,
    plot::{Panel, Series},
    table::{Column, Table},
};
use crate::train::Run;

/// A run that races.
#[derive(Clone, Debug)]
pub struct Racer {
    /// What it is called.
    pub name: String,
    /// The run.
    pub run: Run,
    /// Seconds of what had to be done before it, such as the training of its teacher.
    pub before: f64,
}

/// A row for each run: seconds until its validation first had each mark of mAP50-95, the best it came to, and all its seconds.
/// A cell is empty where a mark was not reached.
pub fn race(racers: &[Racer], marks: &[f64]) -> Table {
    let mut columns = vec![Column::from("run")];
    columns.extend(marks.iter().map(|mark| Column::new(format!("map_{mark}").replace('.', "_"), format!("to {mark}"))));
    columns.extend([
        Column::new("best", "best mAP50-95"),
        Column::new("before", "before"),
        Column::new("seconds", "time"),
    ]);
    let mut table = Table::new("seconds to marks of mAP50-95", columns);
    for Racer { name, run, before } in racers {
        let mut row = vec![Cell::from(name.as_str())];
        row.extend(
            marks.iter().map(|mark| run.reached(*mark).map_or(Cell::Missing, |found| Cell::Seconds(before + found))),
        );
        row.extend([accuracies(run).map(|(_, map)| map).reduce(f64::max).into(), Cell::Seconds(*before)]);
        row.push(Cell::Seconds(before + run.seconds));
        table.push(row);
    }
    table
}

/// What a race's picture shows: each run's mAP50-95 over its seconds, and the marks.
pub fn race_panel(racers: &[Racer], marks: &[f64]) -> Panel {
    let line = |Racer { name, run, before }: &Racer| Series {
        name: name.clone(),
        points: accuracies(run).map(|(seconds, map)| (before + seconds, map)).collect(),
    };
    let mut series: Vec<Series> = racers.iter().map(line).collect();
    let end = series.iter().flat_map(|line| &line.points).map(|(seconds, _)| *seconds).fold(0.0, f64::max);
    series.extend(marks.iter().map(|&mark| Series { name: mark.to_string(), points: vec![(0.0, mark), (end, mark)] }));
    Panel { title: "mAP50-95 on val over time".into(), x: "seconds".into(), series }
}

/// Seconds and mAP50-95 of each validation.
fn accuracies(run: &Run) -> impl Iterator<Item = (f64, f64)> {
    run.history.iter().filter_map(|epoch| Some((epoch.seconds, epoch.validation.as_ref()?.map)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        data::{ShapesOptions, shapes},
        model::fixtures::tiny_detector,
        train::{Epoch, RunTimes, Setup, Validation},
    };

    fn run(accuracies: &[f64]) -> Run {
        let epoch = |(at, &map): (usize, &f64)| Epoch {
            epoch: at + 1,
            seconds: 10.0 * (at + 1) as f64,
            losses: Vec::new(),
            validation: Some(Validation { precision: 0.0, recall: 0.0, map50: 0.0, map, losses: Vec::new() }),
            lr: [0.0; 3],
            figures: Vec::new(),
        };
        Run {
            model: tiny_detector(1),
            last: tiny_detector(1),
            best: None,
            parts: Vec::new(),
            validation_parts: Vec::new(),
            history: accuracies.iter().enumerate().map(epoch).collect(),
            seconds: 10.0 * accuracies.len() as f64,
            times: RunTimes::default(),
            folder: None,
            stopped: false,
            setup: Arc::new(Setup {
                model: tiny_detector(1),
                data: shapes(&ShapesOptions { train: 1, val: 1, ..Default::default() }).unwrap(),
                size: 64,
                batch: 1,
                settings: Vec::new(),
                teachers: Vec::new(),
                imitation: Vec::new(),
            }),
        }
    }

    #[test]
    fn marks_are_reached_when_they_first_are() {
        let racers = [
            Racer { name: "whole".into(), run: run(&[0.2, 0.5, 0.4, 0.6]), before: 0.0 },
            Racer { name: "small".into(), run: run(&[0.45, f64::NAN]), before: 100.0 },
        ];
        let table = race(&racers, &[0.45, 0.55]);
        let column = |name: &str| table.column(name).unwrap().into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(column("map_0_45"), [Cell::Seconds(20.0), Cell::Seconds(110.0)]);
        assert_eq!(column("map_0_55"), [Cell::Seconds(40.0), Cell::Missing]);
        assert_eq!(column("best"), [Cell::Float(0.6), Cell::Float(0.45)]);
        assert_eq!(column("seconds"), [Cell::Seconds(40.0), Cell::Seconds(120.0)]);
        let panel = race_panel(&racers, &[0.45]);
        assert_eq!(panel.series[1].points[0], (110.0, 0.45));
        assert_eq!(panel.series[2].points, [(0.0, 0.45), (120.0, 0.45)]);
    }
}
