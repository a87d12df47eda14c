//! Sparse training and masks as scripts use them.

use super::failure::{Failure, Report};
use super::session::{Session, Settings};

pub(super) struct Desk(Session);

impl Desk {
    /// A session with a network, data and options of a short run that is kept in a folder.
    pub(super) fn new(folder: &std::path::Path) -> Self {
        let mut desk = Self(Session::new(Settings::default()));
        let folder = folder.join("run").display().to_string();
        desk.shown("let net = teacher(); let data = shapes(#{ train: 4, val: 2, size: 64 }); 0");
        desk.shown(&format!(
            "let short = #{{ epochs: 1, batch: 4, size: 64, validate: false, warmup_epochs: 0.0, folder: {folder:?} }}; 0"
        ));
        desk
    }

    pub(super) fn shown(&mut self, code: &str) -> String {
        match self.0.evaluate("prompt", code) {
            Ok(value) => self.0.text(&value),
            Err(failure) => panic!("{code}: {failure:?}"),
        }
    }

    pub(super) fn error(&mut self, code: &str) -> String {
        match self.0.evaluate("prompt", code) {
            Err(Failure::Error(report)) => Report::render(&report, false),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn sparse_training_takes_a_plan_and_draws_the_scales() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    desk.shown("let plan = pruner(net, #{ ratio: 0.3, size: 64 }).plan(); 0");
    let growing = "net.fit(data, short + #{ sparsity: \"growing\", plan: plan, sparsity_strength: 100 })";
    let shown = desk.shown(growing);
    assert!(shown.contains("sparsity/zeros") && shown.contains("sparsity/magnitude"), "{shown}");
    for file in ["scales.png", "scales.svg", "curves.svg", "results.csv"] {
        assert!(folder.path().join("run").join(file).exists(), "{file}");
    }
    let lasso =
        "distiller(net, net, #{ logits: 1 }).fit(data, short + #{ sparsity: \"group_lasso\", sparsity_strength: 1e5 })";
    assert_eq!(desk.shown(&format!("{lasso}.history.column(\"sparsity_zeros\")[0]")), "1.0");
    let l1 = "net.fit(data, short + #{ sparsity: \"l1\", sparsity_strength: 20 }).last.sparsity > 0.1";
    assert_eq!(desk.shown(l1), "true");

    let error = desk.error("net.fit(data, short + #{ sparsity: \"growing\" })");
    assert!(error.contains("\"sparsity\" of Model.fit") && error.contains("plan: p.plan()"), "{error}");
    let error = desk.error("net.fit(data, short + #{ sparsity: \"l1\", plan: plan })");
    assert!(error.contains("\"plan\" of Model.fit") && error.contains("growing"), "{error}");
    let error = desk.error("net.fit(data, short + #{ sparsity: \"l2\" })");
    assert!(error.contains("\"slimming\"") && error.contains("not \"l2\""), "{error}");
    let other =
        "yolo(\"yolov8n\", #{ classes: net.classes }).fit(data, short + #{ sparsity: \"growing\", plan: plan })";
    assert!(desk.error(other).contains("the plan does not fit") || desk.error(other).contains("no convolution"));
    // The session goes on.
    assert_eq!(desk.shown("1 + 1"), "2");
}

#[test]
fn masks_are_planned_shown_saved_and_held() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    desk.shown(
        "let p = pruner(net, #{ granularity: \"weight\", ratio: 0.5 }); let plan = p.plan(); let slim = p.prune(); 0",
    );
    let table = desk.shown("plan");
    assert!(table.contains("50.0 %") && table.contains("saves no time") && table.contains("near 0 now"), "{table}");
    assert!(desk.shown("p.scores()").contains("median"));
    assert_eq!(desk.shown("(slim.sparsity - 0.5).abs() < 0.001"), "true");
    let path = folder.path().join("plan.json").display().to_string();
    desk.shown(&format!("plan.save({path:?}); 0"));
    assert_eq!(desk.shown(&format!("load_plan({path:?}, net).apply(net).sparsity == slim.sparsity")), "true");
    assert_eq!(desk.shown("net.fit(data, short).last.sparsity"), "0.0");
    assert_eq!(desk.shown("slim.fit(data, short).last.sparsity == slim.sparsity"), "true");
    assert!(desk.shown("compare(net, slim, #{ latency: false })").contains("near 0"));
    assert!(desk.shown("slim.layers(#{ size: 64 })").contains("held at 0"));
    assert_eq!(
        desk.shown("pruner(net, #{ granularity: \"block\", block: [2, 1], ratio: 0.5 }).prune().sparsity > 0.4"),
        "true"
    );

    // The share that is the default of channels is no better when it is given.
    for (amount, says) in [("macs: 0.5", "no MACs"), ("latency: 0.5", "pattern alone"), ("ratio: 0.5", "n stay")] {
        let granularity = if amount.starts_with("macs") { "weight" } else { "n:m" };
        let error = desk.error(&format!("pruner(net, #{{ granularity: {granularity:?}, {amount} }})"));
        assert!(error.contains(says), "{error}");
    }
    let error = desk.error("pruner(net, #{ granularity: \"n:m\", pattern: \"5:4\" })");
    assert!(error.contains("such as \"2:4\""), "{error}");
    let error = desk.error("plan.apply(yolo(\"yolov8n\", #{ classes: net.classes }))");
    assert!(error.contains("the plan does not fit `model."), "{error}");
}
