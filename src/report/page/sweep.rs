//! Many runs as one page.

use std::path::{Path, PathBuf};

use super::html::{Chart, Fact, Grid, Page, Part, Section};
use crate::{
    report::{cell::Cell, error::Result, pareto::pareto_svg, tables},
    sweep::{Outcome, Point, points},
};

/// Writes what a sweep came to as one HTML file, `report.html` in `folder`, which needs no network: mAP50-95 against MACs with the
/// Pareto front where runs have both, a row for each combination of settings and one for each run. `total` is how many runs
/// there would be. Gives the file.
///
/// # Errors
/// A file that cannot be written.
pub fn sweep_report(outcomes: &[Outcome], total: usize, folder: &Path) -> Result<PathBuf> {
    let points = points(outcomes);
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    let mut facts = vec![Fact::new("runs", outcomes.len().to_string(), format!("of {total}"))];
    if failed > 0 {
        facts.push(Fact::new("failed", failed.to_string(), "the table of runs says why"));
    }
    let accuracy = |point: &Point| point.figures.get("map").map(|found| found.mean);
    let best = points.iter().filter(|point| accuracy(point).is_some());
    if let Some(best) = best.max_by(|a, b| accuracy(a).unwrap_or(0.0).total_cmp(&accuracy(b).unwrap_or(0.0))) {
        let settings: Vec<String> = best.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let value = accuracy(best).map(|map| Cell::Float(map).human()).unwrap_or_default();
        facts.push(Fact::new("best mean mAP50-95", value, settings.join(", ")));
    }
    let pareto = tables::sweep_pareto(&points, "macs", "map");
    let front: Vec<&str> = pareto.front().into_iter().map(|at| pareto.points[at].name.as_str()).collect();
    let chart = |svg| {
        let alt = format!("{}, {} points; on the front {}", pareto.title, pareto.points.len(), front.join("; "));
        Part::Charts(vec![Chart { title: pareto.title.clone(), alt, svg }])
    };
    let mut parts: Vec<Part> = pareto_svg(&pareto)?.map(chart).into_iter().collect();
    parts.push(Part::Table(Grid::of(&tables::sweep_points(&points, "means over the seeds".into()), false)));
    let runs = vec![Part::Table(Grid::of(&tables::sweep_runs(outcomes), false))];
    let section = |id, title, parts| Section { id, title, notes: Vec::new(), parts };
    let page = Page {
        title: "sweep".into(),
        lead: format!("{} combinations of settings", points.len()),
        facts,
        sections: vec![section("settings", "Settings", parts), section("runs", "Runs", runs)],
    };
    page.save(folder)
}
