//! A run of training, or a gradual pruning with its run, as one page.

use std::path::{Path, PathBuf};

use super::{
    html::{Fact, Grid, Matrix, MatrixCell, MatrixRow, Page, Part, Section, charts},
    images::images,
    layers::{layers, related},
};
use crate::{
    data::DataError,
    eval::{ConfusionOptions, EvalError, EvaluateOptions, Metrics, confusion, evaluate},
    model::{Model, ModelError},
    progress::Progress,
    prune::Gradual,
    report::{cell::Cell, error::Result, table::Table, tables},
    train::Run,
};

/// Writes a run as one HTML file, `report.html` in `folder`, which needs no network: accuracy, training, layers, images, time and
/// settings. The model is evaluated anew on the split `val`, where there is one, and beside it the teacher. Gives the file.
///
/// # Errors
/// What cannot be evaluated or written, and a listener that asks to stop.
pub fn run_report(run: &Run, folder: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    page(run, Vec::new(), progress)?.save(folder)
}

/// The same for a gradual pruning: its steps, then the training in the end where it came to that.
///
/// # Errors
/// As [`run_report`].
pub fn gradual_report(found: &Gradual, folder: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let mut steps = section("steps", "Steps", charts_part(&tables::gradual_panels(found))?);
    steps.parts.push(Part::Table(Grid::of(&tables::gradual_steps(found), false)));
    let page = match &found.run {
        Some(run) => page(run, vec![steps], progress)?,
        None => Page {
            title: found.model.provenance().name.clone(),
            lead: format!("gradual pruning, {}; it did not come to the training in the end", found.asked),
            facts: cost_facts(&found.model, None, 640)?,
            sections: vec![steps],
        },
    };
    page.save(folder)
}

fn page(run: &Run, first: Vec<Section>, progress: &dyn Progress) -> Result<Page> {
    let (setup, size) = (&*run.setup, run.setup.size);
    let teacher = setup.teachers.first();
    let found = measured(&run.model, run, progress)?;
    let taught = match teacher.filter(|teacher| teacher.detector().classes == setup.data.names) {
        Some(teacher) if found.is_some() => measured(teacher, run, progress)?,
        _ => None,
    };
    let mut sections = first;
    sections.push(accuracy(run, found.as_ref(), taught.as_ref())?);
    sections.push(training(run)?);
    sections.extend(layers(run)?);
    if found.is_some() {
        sections.push(images(run, setup.data.split("val")?, progress)?);
    }
    sections.push(section("time", "Time", vec![Part::Table(Grid::of(&tables::run_times(run), false))]));
    sections.push(settings(run)?);
    let name = &run.model.provenance().name;
    let way = if teacher.is_some() { "distilled" } else { "trained" };
    let stopped = if run.stopped { ", stopped early" } else { "" };
    Ok(Page {
        title: format!("{name} · {}", short(&setup.data.name)),
        lead: format!("{way} on {} at {size} px for {} epochs{stopped}", setup.data.name, run.history.len()),
        facts: facts(run, found.as_ref(), taught.as_ref())?,
        sections,
    })
}

/// The last folder of a path, or of `data.yaml` the folder that it lies in.
fn short(name: &str) -> String {
    let parts: Vec<&str> = name.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    let yaml = |part: &&str| part.ends_with(".yaml") || part.ends_with(".yml");
    let place = parts.iter().rposition(|part| !yaml(part)).map(|place| parts[place]);
    place.or(parts.last().copied()).unwrap_or(name).to_owned()
}

fn section(id: &'static str, title: &'static str, parts: Vec<Part>) -> Section {
    Section { id, title, notes: Vec::new(), parts }
}

fn charts_part(panels: &[crate::report::plot::Panel]) -> Result<Vec<Part>> {
    let charts = charts(panels)?;
    Ok(if charts.is_empty() { Vec::new() } else { vec![Part::Charts(charts)] })
}

/// A model on the split `val`; nothing where there is none, or none with labels.
fn measured(model: &Model, run: &Run, progress: &dyn Progress) -> Result<Option<Metrics>> {
    let (size, batch) = (run.setup.size, run.setup.batch);
    let options = EvaluateOptions { size, batch, ..EvaluateOptions::default() };
    match evaluate(model, &run.setup.data, &options, progress) {
        Ok(found) => Ok(Some(found)),
        Err(EvalError::Data(DataError::NoSuchSplit { .. }) | EvalError::NoLabels { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn facts(run: &Run, found: Option<&Metrics>, taught: Option<&Metrics>) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    if let Some(found) = found {
        let beside = |of: fn(&Metrics) -> f64| {
            taught.map_or_else(|| format!("on {}", found.split), |taught| format!("the teacher {:.3}", of(taught)))
        };
        let score = &found.scores.overall;
        facts.push(Fact::new("mAP50-95", format!("{:.3}", score.map), beside(|found| found.scores.overall.map)));
        facts.push(Fact::new("mAP50", format!("{:.3}", score.map50), beside(|found| found.scores.overall.map50)));
    }
    let teacher = run.setup.teachers.first().filter(|teacher| related(&run.model, teacher));
    facts.extend(cost_facts(&run.model, teacher, run.setup.size)?);
    let best = run.best.map(|epoch| format!("best after {epoch}")).unwrap_or_default();
    facts.push(Fact::new("epochs", run.history.len().to_string(), best));
    facts.push(Fact::new("time", Cell::Seconds(run.seconds).human(), "of training and validation"));
    Ok(facts)
}

fn cost_facts(model: &Model, before: Option<&Model>, size: usize) -> Result<Vec<Fact>, ModelError> {
    let (cost, whole) = (model.cost(size)?, before.map(|before| before.cost(size)).transpose()?);
    let share =
        |own: u64, whole: u64| format!("{} of the teacher's", Cell::Percent(own as f64 / whole.max(1) as f64).human());
    let params = whole.map(|whole| share(cost.params, whole.params)).unwrap_or_default();
    let macs = whole.map_or_else(|| format!("at {size} px"), |whole| share(cost.macs, whole.macs));
    Ok(vec![
        Fact::new("parameters", Cell::Count(cost.params).human(), params),
        Fact::new("MACs", Cell::Count(cost.macs).human(), macs),
    ])
}

fn accuracy(run: &Run, found: Option<&Metrics>, taught: Option<&Metrics>) -> Result<Section> {
    let Some(found) = found else {
        let why =
            format!("{} has no split val with labels, so there is nothing to measure against.", run.setup.data.name);
        return Ok(Section { notes: vec![why], ..section("accuracy", "Accuracy", Vec::new()) });
    };
    let named = |what: &str, found: &Metrics| {
        let mut grid = Grid::of(&tables::metrics(found), false);
        grid.caption = format!("{what}: {}", grid.caption);
        Part::Table(grid)
    };
    let mut parts = vec![named("the model", found)];
    parts.extend(taught.map(|taught| named("the teacher", taught)));
    parts.extend(charts_part(&[tables::precision_recall(found), tables::f1(found)])?);
    parts.push(matrix(found));
    Ok(section("accuracy", "Accuracy", parts))
}

fn matrix(found: &Metrics) -> Part {
    let matrix = confusion(&found.results, found.class_names.len(), ConfusionOptions::default());
    let table = tables::confusion(&matrix, &found.class_names);
    let names: Vec<String> = table.columns().iter().skip(1).map(|column| column.heading.clone()).collect();
    let cell = |row: usize, column: usize| MatrixCell {
        count: matrix.counts[row][column],
        share: (100.0 * matrix.share(row, column)).round() as u32,
    };
    let row = |(at, name): (usize, &String)| MatrixRow {
        name: name.clone(),
        cells: (0..names.len()).map(|column| cell(at, column)).collect(),
    };
    let rows = names.iter().enumerate().map(row).collect();
    Part::Confusion(Matrix { caption: table.title().to_owned(), rows, names })
}

fn training(run: &Run) -> Result<Section> {
    let mut training = section("training", "Training", charts_part(&tables::run_panels(run))?);
    if run.history.is_empty() {
        training.notes.push("It ended before the first epoch did.".into());
    } else {
        training.parts.push(Part::Table(Grid::of(&tables::history(run), true)));
    }
    Ok(training)
}

fn settings(run: &Run) -> Result<Section> {
    let setup = &*run.setup;
    let mut changed = Table::new("settings that are not the defaults", ["setting", "value"]);
    let mut all = Table::new("all settings of the training", ["setting", "value"]);
    for setting in &setup.settings {
        let text = setting.value.as_ref().map_or_else(|| "not given".to_owned(), ToString::to_string);
        let row = || [Cell::text(setting.key), Cell::text(text.clone())];
        if !setting.default {
            changed.push(row());
        }
        all.push(row());
    }
    for line in &setup.imitation {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        changed.push([format!("distiller: {key}").into(), value.into()]);
    }
    let models = [("model at the start", &setup.model)].into_iter();
    let models = models.chain(setup.teachers.iter().map(|teacher| ("teacher", teacher)));
    let mut made = Table::new("models", ["what", "model"]);
    for (what, model) in models {
        made.push([what.into(), tables::headline(model).into()]);
        for step in &model.provenance().history {
            made.push([format!("{what}: history").into(), step.as_str().into()]);
        }
    }
    let data = tables::dataset_summary(&setup.data);
    let parts = [(made, false), (changed, false), (all, true), (data, false)];
    Ok(section(
        "settings",
        "Settings",
        parts.iter().map(|(table, folded)| Part::Table(Grid::of(table, *folded))).collect(),
    ))
}
