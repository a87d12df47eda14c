//! ONNX files as scripts use them: opened, run, compared, and refused where a model is needed.

use super::sparse_tests::Desk;

#[test]
fn onnx_files_stand_beside_models_and_say_what_they_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(folder.path());
    let path = folder.path().join("slim.onnx").display().to_string();
    desk.shown(&format!(
        "net.export({path:?}, #{{ size: 64 }}); let file = load({path:?}); let small = #{{ size: 64 }}; 0"
    ));
    let shown = desk.shown("file");
    assert!(shown.starts_with("slim.onnx · 6 classes · ") && shown.contains("images 1×3×64×64"), "{shown}");
    assert_eq!(desk.shown("file.classes == net.classes && file.macs(64) == net.macs(64)"), "true");
    assert_eq!(desk.shown("abs(file.evaluate(data, small).map - net.evaluate(data, small).map) < 0.001"), "true");
    assert!(desk.shown("file.bench(small + #{ runs: 2 })").contains("slim.onnx, inference by rten"));
    let all = "compare(net, file, file.named(\"again\"), small + #{ runs: 2, data: data })";
    let shown = desk.shown(all);
    assert!(shown.contains("slim.onnx") && shown.contains("again") && shown.contains("mAP50-95"), "{shown}");
    assert_eq!(desk.shown("compare([file], small + #{ latency: false }).column(\"model\")"), "[\"slim.onnx\"]");

    for code in [
        "file.fit(data, short)",
        "file.save(\"x.safetensors\")",
        "file.export(\"x.onnx\")",
        "file.to(\"cpu\")",
        "file.layers()",
        "file.device",
        "pruner(file, #{ ratio: 0.5 })",
        "distiller(net, file)",
        "net.refit(file, data)",
    ] {
        let error = desk.error(code);
        let words = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("needs a Model") && words.contains("load the .pt or .safetensors"), "{code}: {error}");
    }
    let error = desk.error("distiller([file], net)");
    assert!(error.contains("OnnxModel"), "{error}");
    let error = desk.error("compare(net, 3)");
    assert!(error.contains("compare takes Models and OnnxModels, not 3"), "{error}");
    let error = desk.error("file.bench(#{ size: 64, batch: 2 })");
    assert!(error.contains("\"batch\" takes 1"), "{error}");
    assert_eq!(desk.shown("file.name"), "slim.onnx");
}
