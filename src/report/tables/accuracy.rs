//! What an evaluation found beyond its figures: confusion between classes, curves of precision and recall.

use std::path::Path;

use crate::{
    eval::{ClassCurves, Confusion, ConfusionOptions, Metrics, class_curves, confusion as count},
    options::option_names,
    report::{
        cell::Cell,
        error::Result,
        heat_map::{HeatMap, plot_heat_map},
        plot::{Panel, Series, plot},
        table::{Column, Table},
    },
};

/// What a picture of an evaluation shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccuracyPicture {
    /// Precision over recall beside F1 over confidence.
    #[default]
    Curves,
    /// Precision over recall, at IoU 0.5.
    Pr,
    /// F1 over confidence, at IoU 0.5.
    F1,
    /// What labelled boxes are taken for.
    Confusion,
}

option_names!(AccuracyPicture, "picture": Curves = "curves", Pr = "pr", F1 = "f1", Confusion = "confusion");

/// Lines of classes beside that of their mean; of more classes those with most labels are shown.
const LINES: usize = 6;

/// A row for each class that boxes are taken for, a column for each class that is labelled, and in the last of both what
/// nothing stands for.
pub fn confusion(matrix: &Confusion, classes: &[String]) -> Table {
    let title = format!(
        "boxes found (down) by what is labelled (across) · confidence above {}, IoU above {}",
        matrix.options.conf, matrix.options.iou
    );
    let names = with_background(classes);
    let columns = [Column::new("found_as", "found as")].into_iter();
    let mut table = Table::new(title, columns.chain(names.iter().map(|name| Column::new(name, name).sum())));
    for (name, counts) in names.iter().zip(&matrix.counts) {
        table.push([Cell::text(name)].into_iter().chain(counts.iter().map(|&count| Cell::Int(count as i64))));
    }
    table
}

/// The classes, and after them the background under a name that none of them has.
pub(in crate::report) fn with_background(classes: &[String]) -> Vec<String> {
    let mut background = "background".to_owned();
    while classes.contains(&background) {
        background.insert(0, '_');
    }
    classes.iter().cloned().chain([background]).collect()
}

/// The same as coloured cells: shares of what is labelled so.
pub fn confusion_map(matrix: &Confusion, classes: &[String]) -> HeatMap {
    let names = with_background(classes);
    let shares = |found: usize| (0..names.len()).map(|labelled| matrix.share(found, labelled)).collect();
    HeatMap {
        title: "what labelled boxes are taken for".into(),
        across: "labelled as (shares of each column); down: found as".into(),
        rows: names.iter().enumerate().map(|(found, name)| (name.clone(), shares(found))).collect(),
        columns: names,
    }
}

/// Precision over recall at IoU 0.5, a line a class and one for their mean.
pub fn precision_recall(metrics: &Metrics) -> Panel {
    let curves = class_curves(&metrics.results, metrics.scores.rule);
    let title = format!("precision over recall, mAP50 {:.3}", metrics.scores.overall.map50);
    panel(metrics, &curves, title, "recall", &ClassCurves::precision_over_recall)
}

/// F1 over confidence at IoU 0.5, a line a class and one for their mean.
pub fn f1(metrics: &Metrics) -> Panel {
    let curves = class_curves(&metrics.results, metrics.scores.rule);
    let best = mean_line(&curves, &ClassCurves::f1_over_confidence);
    let best = best.into_iter().fold((0.0, 0.0), |best: (f64, f64), point| if point.1 > best.1 { point } else { best });
    let title = format!("F1 over confidence, best {:.3} at {:.2}", best.1, best.0);
    panel(metrics, &curves, title, "confidence", &ClassCurves::f1_over_confidence)
}

/// Draws an evaluation into an `.svg` or `.png` file.
///
/// # Errors
/// An evaluation without results, another ending, a file that cannot be written.
pub fn plot_metrics(metrics: &Metrics, picture: AccuracyPicture, path: &Path) -> Result<()> {
    match picture {
        AccuracyPicture::Curves => plot(&[precision_recall(metrics), f1(metrics)], path),
        AccuracyPicture::Pr => plot(&[precision_recall(metrics)], path),
        AccuracyPicture::F1 => plot(&[f1(metrics)], path),
        AccuracyPicture::Confusion => {
            let matrix = count(&metrics.results, metrics.class_names.len(), ConfusionOptions::default());
            plot_heat_map(&confusion_map(&matrix, &metrics.class_names), path)
        }
    }
}

type Line<'a> = &'a dyn Fn(&ClassCurves) -> Vec<(f64, f64)>;

/// The mean of the classes' lines, point by point.
pub(in crate::report) fn mean_line(curves: &[ClassCurves], line: Line) -> Vec<(f64, f64)> {
    let mut mean: Vec<(f64, f64)> = Vec::new();
    for class in curves {
        let points = line(class);
        mean.resize(points.len(), (0.0, 0.0));
        for (sum, (x, y)) in mean.iter_mut().zip(points) {
            *sum = (x, sum.1 + y / curves.len() as f64);
        }
    }
    mean
}

fn panel(metrics: &Metrics, curves: &[ClassCurves], title: String, x: &str, line: Line) -> Panel {
    let mut shown: Vec<&ClassCurves> = curves.iter().collect();
    shown.sort_by_key(|class| std::cmp::Reverse(class.labels));
    let title = match shown.len() {
        all if all > LINES => format!("{title} ({LINES} of {all} classes)"),
        _ => title,
    };
    shown.truncate(LINES);
    // Two hundred points are as smooth as a thousand.
    let series = |name: String, points: Vec<(f64, f64)>| Series {
        name,
        points: points.iter().step_by((points.len() / 200).max(1)).chain(points.last()).copied().collect(),
    };
    let name = |class: &ClassCurves| {
        let name = metrics.class_names.get(class.class).cloned().unwrap_or_else(|| class.class.to_string());
        if name.chars().count() > 24 { name.chars().take(23).chain(['…']).collect() } else { name }
    };
    let all = (curves.len() > 1).then(|| series("mean of all classes".into(), mean_line(curves, line)));
    let classes = shown.iter().map(|class| series(name(class), line(class)));
    Panel { title, x: x.into(), series: all.into_iter().chain(classes).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{ShapesOptions, shapes},
        eval::{EvaluateOptions, evaluate},
        io,
        progress::Silent,
    };

    fn metrics() -> Metrics {
        let data = shapes(&ShapesOptions { train: 1, val: 12, size: 160, ..Default::default() }).unwrap();
        let options = EvaluateOptions { size: 160, ..EvaluateOptions::default() };
        evaluate(&io::teacher().unwrap(), &data, &options, &Silent).unwrap()
    }

    #[test]
    fn every_label_is_in_one_cell_of_its_column() {
        let found = metrics();
        let classes = found.class_names.len();
        let matrix = count(&found.results, classes, ConfusionOptions::default());
        let table = confusion(&matrix, &found.class_names);
        assert_eq!((table.len(), table.columns().len()), (classes + 1, classes + 2));
        for class in &found.scores.classes {
            let column = table.column(&found.class_names[class.class]).unwrap();
            let sum: f64 = column.iter().filter_map(|cell| cell.number()).sum();
            assert_eq!(sum, class.labels as f64);
        }
        let right: usize = (0..classes).map(|class| matrix.counts[class][class]).sum();
        assert!(right * 2 > found.labels, "{right} of {} labels are found", found.labels);
        assert_eq!(with_background(&["background".into()])[1], "_background");
    }

    #[test]
    fn the_curves_are_drawn_with_a_line_for_each_class() {
        let found = metrics();
        let folder = tempfile::tempdir().unwrap();
        for picture in AccuracyPicture::ALL {
            let path = folder.path().join(format!("{}.svg", picture.name()));
            plot_metrics(&found, picture, &path).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(found.class_names.iter().all(|name| text.contains(name.as_str())), "{path:?}");
        }
        let (pr, f1) = (precision_recall(&found), f1(&found));
        assert_eq!(pr.series.len(), found.scores.classes.len() + 1);
        // Precision and recall are told at the confidence of the best F1, smoothed: no F1 is far above it.
        let best = f1.series[0].points.iter().fold(0.0f64, |best, point| best.max(point.1));
        let score = found.scores.overall;
        let told = 2.0 * score.precision * score.recall / (score.precision + score.recall);
        assert!((best - told).abs() < 0.05, "{best} {told}");
        let nothing = Metrics { results: Vec::new().into(), ..found };
        let error = plot_metrics(&nothing, AccuracyPicture::Pr, &folder.path().join("no.svg")).unwrap_err();
        assert!(error.to_string().contains("nothing to plot"), "{error}");
    }
}
