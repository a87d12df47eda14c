//! What an evaluation shows beyond its figures, as scripts use it.

use super::sparse_tests::Desk;

#[test]
fn an_evaluation_has_a_confusion_matrix_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    desk.shown("let found = net.evaluate(data, #{ size: 64 }); 0");
    let labels = "numbers(found.confusion().column(net.classes[0])).sum() == found[net.classes[0]].labels";
    desk.shown("let classes = found.table().column(\"class\"); 0");
    let labels = labels.replace("net.classes[0]", "classes[0]");
    assert_eq!(desk.shown(&labels), "true");
    // With a confidence that nothing reaches every label is taken for background.
    let background = "found.confusion(#{ conf: 1.0 })[-1][classes[0]] == found[classes[0]].labels";
    assert_eq!(desk.shown(background), "true");
    for picture in ["curves", "pr", "f1", "confusion"] {
        let path = folder.path().join(format!("{picture}.svg"));
        desk.shown(&format!("found.plot({path:?}, {picture:?}); 0"));
        assert!(std::fs::read_to_string(path).unwrap().contains("<svg"), "{picture}");
    }
    assert!(desk.shown("found.plot()").contains("F1 over confidence"));
    let error = desk.error("found.plot(\"a.svg\", \"cofusion\")");
    assert!(error.contains("\"confusion\"") && error.contains("cofusion"), "{error}");
    let error = desk.error("found.confusion(#{ iuo: 0.5 })");
    assert!(error.contains("did you mean \"iou\""), "{error}");
}

#[test]
fn a_run_and_a_sweep_are_written_as_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    let page = folder.path().join("page");
    desk.shown("let run = net.fit(data, short); 0");
    let path = desk.shown(&format!("run.report({page:?})"));
    assert!(path.contains("report.html"), "{path}");
    assert!(std::fs::read_to_string(page.join("report.html")).unwrap().contains("</html>"));
    let sweep = "sweep(#{ a: [1, 2] }, |o| #{ map: 0.1 * o.a, macs: 100 * o.a }, #{ seeds: 1, folder: \"\" })";
    desk.shown(&format!("{sweep}.report({page:?})"));
    assert!(std::fs::read_to_string(page.join("report.html")).unwrap().contains("<circle"));
}

#[test]
fn a_comparison_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    let path = folder.path().join("compared.svg");
    desk.shown("let both = compare(net, net.named(\"other\"), #{ data: data, size: 64, latency: false }); 0");
    desk.shown(&format!("both.plot({path:?}); 0"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("mAP50-95 against MACs") && text.contains("other"), "{text}");
    let error = desk.error(&format!("both.plot({path:?}, #{{ y: \"mpa\" }})"));
    assert!(error.contains("\"mpa\"") && error.contains("map"), "{error}");
}
