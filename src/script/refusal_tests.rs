//! What pruning refuses: each error names what is wrong and what to do, and the session goes on.

use super::sparse_tests::Desk;

#[test]
fn what_pruning_cannot_do_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    desk.shown(
        "let other = yolo(\"yolov8n\", #{ classes: net.classes, width: 0.1 });
         let strange = yolo(\"yolov8n\", #{ classes: 7, width: 0.1 });
         let small = #{ images: 2, size: 64 };
         let plan = pruner(net, #{ ratio: 0.3, size: 64 }).plan();
         let mask = pruner(net, #{ granularity: \"weight\", ratio: 0.5 }).plan();
         let depth = pruner(net, #{ granularity: \"depth\", ratio: 0.3, data: data } + small).plan();
         let scan = pruner(net, #{ size: 64 }).sensitivity(data, #{ ratios: [0.5], layers: \"model.2*\" } + small);
         0",
    );
    desk.shown(&format!("mask.save({:?}); scan.save({:?}); 0", path("mask.json"), path("scan.json")));
    let fit = |plan: &str| format!("net.fit(data, short + #{{ sparsity: \"growing\", plan: {plan} }})");
    let [none, file] = [path("none.json"), path("scan.json")];
    let remedy = "apply it to the model that it was made for, or plan this one anew";
    let mask = path("mask.json");
    for (code, says) in [
        ("pruner(net, #{ importance: \"taylor\" }).plan()".to_owned(), ["taylor", "give it data"]),
        (
            "pruner(strange, #{ importance: \"taylor\", data: data } + small).plan()".into(),
            ["7 classes", "use a dataset"],
        ),
        ("pruner(strange, #{ size: 64 }).sensitivity(data, small)".into(), ["7 classes", "use a dataset"]),
        ("pruner(net, #{ granularity: \"n:m\", pattern: \"5:4\" })".into(), ["\"pattern\"", "such as \"2:4\""]),
        ("pruner(net, #{ ratio: 0.5, pattern: \"2:4\" })".into(), ["\"pattern\"", "granularity: \"n:m\""]),
        ("pruner(net, #{ ratio: 0.5, block: [4, 1] })".into(), ["\"block\"", "granularity: \"block\""]),
        ("plan.apply(other)".into(), ["model.", remedy]),
        ("plan.apply(plan.apply(net))".into(), ["model.", remedy]),
        ("mask.apply(other)".into(), ["model.", remedy]),
        (format!("load_plan({mask:?}, other)"), ["model.", remedy]),
        ("depth.apply(other)".into(), ["model.", remedy]),
        ("pruner(other, #{ scan: scan })".into(), ["the scan is of", "scan this model"]),
        (fit("mask"), ["removes no channel", "granularity channel or filter"]),
        (fit("depth"), ["removes no channel", "granularity channel or filter"]),
        (
            "pruner(net, #{ size: 64 }).gradual(data, #{ sparsity: \"growing\" })".into(),
            ["\"sparsity\" of Pruner.gradual", "\"group_lasso\""],
        ),
        (format!("load_plan({none:?}, net)"), ["none.json", "cannot be read"]),
        (format!("load_plan({file:?}, net)"), ["scan.json", "it is no plan"]),
        (format!("pruner(net, #{{}}).gradual(data, #{{ resume: {none:?} }})"), ["gradual.json", "cannot be read"]),
    ] {
        let error = desk.error(&code);
        let words = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(says.iter().all(|says| words.contains(says)), "{code}: {error}");
    }
    // Nothing is lost.
    assert_eq!(desk.shown("plan.apply(net).params < net.params"), "true");
}
