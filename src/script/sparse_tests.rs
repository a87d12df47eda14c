//! Sparse training and masks as scripts use them.

use super::failure::{Failure, Report};
use super::session::{Session, Settings};

struct Desk(Session);

impl Desk {
    /// A session with a network, data and options of a short run that is kept in a folder.
    fn new(folder: &std::path::Path) -> Self {
        let mut desk = Self(Session::new(Settings::default()));
        let folder = folder.join("run").display().to_string();
        desk.shown("let net = teacher(); let data = shapes(#{ train: 4, val: 2, size: 64 }); 0");
        desk.shown(&format!(
            "let short = #{{ epochs: 1, batch: 4, size: 64, validate: false, warmup_epochs: 0.0, folder: {folder:?} }}; 0"
        ));
        desk
    }

    fn shown(&mut self, code: &str) -> String {
        match self.0.evaluate("prompt", code) {
            Ok(value) => self.0.text(&value),
            Err(failure) => panic!("{code}: {failure:?}"),
        }
    }

    fn error(&mut self, code: &str) -> String {
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
