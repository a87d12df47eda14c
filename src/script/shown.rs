//! What errors and the main tables look like, as snapshots: `INSTA_UPDATE=always` writes them anew.

use super::failure::{Failure, Report};
use super::session::{Session, Settings};

fn session() -> Session {
    Session::new(Settings::default())
}

fn error(code: &str) -> String {
    match session().evaluate("prompt", code) {
        Err(Failure::Error(report)) => Report::render(&report, false).replace(env!("CARGO_PKG_VERSION"), "VERSION"),
        other => panic!("{code}: {other:?}"),
    }
}

#[test]
fn errors() {
    let codes = [
        "let net = 1;\nnte + 1",
        "sead(1)",
        "1 + \"a\" * 2",
        "let x = (1 + ;",
        "pruner(teacher(), #{ macs: 0.5, importanc: \"l1\" })",
        "pruner(teacher(), #{ importance: \"l3\" })",
        "pruner(teacher(), #{ macs: 0.5, ratio: 0.5 })",
        "pruner(teacher(), #{ ignore: \"model.99\" })",
        "pruner(teacher(), #{ macs: 0.01, size: 160 }).plan()",
        "shapes(#{ classes: \"hexagon\" })",
        "let e = 0;\nteacher().fit(shapes(#{ train: 2, val: 2 }), #{ epochs: e })",
        "teacher().evaluate(shapes(#{ train: 1, val: 1 }), #{ size: 100 })",
        "teacher().layers().sort(\"mac\")",
        "fn inner(x) { x.missing }\ninner(#{ a: 1 })",
        "load(\"no/such.pt\")",
        "device(\"gpu\")",
        "distiller(teacher(), yolo(\"yolov5n\"))",
        "help(\"evalute\")",
        "panicking()",
    ];
    let shown: Vec<String> = codes.iter().map(|code| format!("> {code}\n{}\n", error(code))).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn tables() {
    let mut session = session();
    let mut shown = |code: &str| {
        let value = session.evaluate("prompt", code).unwrap_or_else(|failure| panic!("{code}: {failure:?}"));
        format!("> {code}\n{}\n", session.text(&value))
    };
    let tables = [
        "teacher()",
        "teacher().summary()",
        "teacher().layers(#{ size: 160 }).top(4)",
        "pruner(teacher(), #{ macs: 0.5, size: 160 })",
        "pruner(teacher(), #{ macs: 0.5, size: 160 }).plan().table().top(6)",
        "distiller(teacher(), teacher(), #{ logits: 1 })",
        "shapes(#{ train: 4, val: 2 })",
        "help(\"show\")",
        "help(\"fit\")",
    ];
    let tables: Vec<String> = tables.into_iter().map(&mut shown).collect();
    insta::assert_snapshot!(tables.join("\n"));
}
