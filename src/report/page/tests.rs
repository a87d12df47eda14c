//! Pages of small runs: what is in them, and that they are whole.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use super::{gradual_report, run_report, sweep_report};
use crate::{
    data::{Dataset, ShapesOptions, shapes},
    distill::{DistillOptions, Distiller, compress},
    io,
    model::Model,
    options::Value,
    progress::{Progress, Silent},
    prune::{Amount, GradualOptions, PruneOptions, Pruner},
    sweep::{Job, Outcome},
    train::{FitOptions, Run, fit},
};

const HOSTILE: &str = "<script>alert('\"&amp;')</script>";

/// Shapes of which one class has a name that would break out of a page.
fn data() -> Dataset {
    let mut data = shapes(&ShapesOptions { train: 8, val: 4, size: 64, ..ShapesOptions::default() }).unwrap();
    data.names[0] = HOSTILE.into();
    data
}

fn teacher(data: &Dataset) -> Model {
    let teacher = io::teacher().unwrap();
    crate::train::with_classes(&teacher, &data.names, 0).unwrap()
}

fn options() -> FitOptions {
    FitOptions { epochs: 2, batch: 4, size: 64, ..FitOptions::default() }
}

fn pruner(model: &Model) -> Pruner {
    let options = PruneOptions { amount: Amount::Macs(0.5), size: 64, ..PruneOptions::default() };
    Pruner::new(model, options).unwrap()
}

fn distilled() -> Run {
    let data = data();
    let teacher = teacher(&data);
    let student = pruner(&teacher).prune().unwrap();
    Distiller::new(&teacher, &student, DistillOptions::default()).unwrap().fit(&data, &options(), &Silent).unwrap()
}

/// The page, which must be well-formed XML as well as HTML.
fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).unwrap()
}

fn all<'a>(page: &'a Document<'_>, name: &str) -> Vec<Node<'a, 'a>> {
    page.descendants().filter(|node| node.has_tag_name(name)).collect()
}

fn sections<'a>(page: &'a Document<'_>) -> Vec<&'a str> {
    all(page, "section").iter().filter_map(|section| section.attribute("id")).collect()
}

fn text(node: Node) -> String {
    node.descendants().filter_map(|inner| inner.text()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_distilled_run_has_every_section_and_nothing_from_elsewhere() {
    let run = distilled();
    let folder = tempfile::tempdir().unwrap();
    let path = run_report(&run, &folder.path().join("new"), &Silent).unwrap();
    assert_eq!(path, folder.path().join("new").join("report.html"));
    let html = std::fs::read_to_string(&path).unwrap();
    let page = parsed(&html);
    assert_eq!(sections(&page), ["accuracy", "training", "layers", "images", "time", "settings"]);
    for link in all(&page, "a") {
        let target = link.attribute("href").unwrap().strip_prefix('#').unwrap();
        assert!(sections(&page).contains(&target), "{target}");
    }
    // Four images have labels, teacher and model beside each other, each with words for those who do not see them.
    let pictures = all(&page, "img");
    assert_eq!(pictures.len(), 4 * 3);
    for picture in &pictures {
        assert!(picture.attribute("src").unwrap().starts_with("data:image/jpeg;base64,/9j/"));
        assert!(picture.attribute("alt").is_some_and(|alt| alt.contains(": ")));
    }
    let charts = page.descendants().filter(|node| node.attribute("role") == Some("img"));
    assert!(charts.clone().count() >= 5 && charts.clone().all(|chart| chart.attribute("aria-label").is_some()));
    // Tables name their columns and rows.
    for table in all(&page, "table") {
        let scope = |kind| table.descendants().filter(|node| node.attribute("scope") == Some(kind)).count();
        assert!(scope("col") >= 2 && scope("row") >= 1);
    }
    // The only addresses are names of XML.
    assert_eq!(html.matches("http").count(), html.matches("http-equiv").count() + html.matches("www.w3.org").count());
    assert!(all(&page, "script").is_empty() && all(&page, "link").is_empty());
    assert!(page.descendants().any(|node| node.text() == Some(HOSTILE)), "the name is there as text");
}

#[test]
fn layers_are_told_before_and_after() {
    let run = distilled();
    let folder = tempfile::tempdir().unwrap();
    let html = std::fs::read_to_string(run_report(&run, folder.path(), &Silent).unwrap()).unwrap();
    let page = parsed(&html);
    let layers = all(&page, "table").into_iter().find(|table| table.attribute("class") == Some("layers")).unwrap();
    let teacher = &run.setup.teachers[0];
    assert_eq!(
        layers.descendants().filter(|node| node.attribute("scope") == Some("row")).count(),
        teacher.convolutions().count()
    );
    let (name, kept) = run.model.provenance().kept.iter().next().unwrap();
    let row = layers.descendants().find(|node| node.has_tag_name("tr") && text(*node).contains(name.as_str())).unwrap();
    let told = text(row).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&format!("{} → {}", kept.of, kept.filters.len())), "{told}");
}

#[test]
fn a_run_without_a_teacher_has_two_columns_and_one_without_val_says_so() {
    let data = data();
    let model = teacher(&data);
    let folder = tempfile::tempdir().unwrap();
    let read = |run: &Run| std::fs::read_to_string(run_report(run, folder.path(), &Silent).unwrap()).unwrap();
    let html = read(&fit(&model, &data, &options(), &Silent).unwrap());
    let page = parsed(&html);
    assert_eq!(all(&page, "img").len(), 4 * 2);
    assert!(!sections(&page).contains(&"layers"), "nothing was pruned");
    let mut alone = data;
    alone.splits.retain(|split| split.name != "val");
    let html = read(&fit(&model, &alone, &FitOptions { validate: false, ..options() }, &Silent).unwrap());
    let page = parsed(&html);
    assert_eq!(sections(&page), ["accuracy", "training", "time", "settings"]);
    assert!(text(page.root()).contains("no split val with labels"));
}

#[test]
fn a_compressed_model_has_its_steps_first() {
    let data = data();
    let model = teacher(&data);
    let steps = GradualOptions { steps: 2, tune_epochs: 1, epochs: 1, recalibrate: 8, ..GradualOptions::default() };
    let found =
        compress(&pruner(&model), None, &data, (&steps, DistillOptions::default(), &options()), &Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let html = std::fs::read_to_string(gradual_report(&found, folder.path(), &Silent).unwrap()).unwrap();
    let page = parsed(&html);
    assert_eq!(sections(&page)[..2], ["steps", "accuracy"]);
    let unfinished = crate::prune::Gradual { run: None, ..found };
    let html = std::fs::read_to_string(gradual_report(&unfinished, folder.path(), &Silent).unwrap()).unwrap();
    assert_eq!(sections(&parsed(&html)), ["steps"]);
}

#[test]
fn it_is_stopped_and_refused_without_leaving_anything() {
    struct Stop;
    impl Progress for Stop {
        fn stop_requested(&self) -> bool {
            true
        }
    }
    let data = data();
    let run = fit(&teacher(&data), &data, &FitOptions { epochs: 1, ..options() }, &Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = run_report(&run, folder.path(), &Stop).unwrap_err().to_string();
    assert!(error.contains("stopped after"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = run_report(&run, Path::new(&file), &Silent).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}

#[test]
fn a_sweep_has_its_front_its_settings_and_its_failures() {
    let outcome = |index: usize, macs: f64, result: Result<f64, &str>| Outcome {
        job: Job { index, settings: [("kind".into(), Value::Text(HOSTILE.into()))].into(), seed: index as u64 },
        result: result.map(|map| [("map".into(), map), ("macs".into(), macs)].into()).map_err(String::from),
    };
    let outcomes = [outcome(0, 1e9, Ok(0.5)), outcome(1, 2e9, Ok(0.6)), outcome(2, 0.0, Err("a <b> & c"))];
    let folder = tempfile::tempdir().unwrap();
    let html = std::fs::read_to_string(sweep_report(&outcomes, 6, folder.path()).unwrap()).unwrap();
    let page = parsed(&html);
    assert_eq!(sections(&page), ["settings", "runs"]);
    assert!(page.descendants().any(|node| node.text() == Some("a <b> & c")) && html.contains("of 6"));
    assert_eq!(all(&page, "circle").len(), 1, "one point, the mean of both runs");
    // Without figures there is no picture, but the tables are there.
    let html = std::fs::read_to_string(sweep_report(&outcomes[2..], 6, folder.path()).unwrap()).unwrap();
    assert!(all(&parsed(&html), "svg").is_empty());
}
