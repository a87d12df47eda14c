//! Runs and many of them in scripts: compression, where time goes, races, sweeps.

use super::tests::Desk;

#[test]
fn a_model_is_compressed_in_one_call() {
    let mut desk = Desk::new(false);
    desk.shows("let net = teacher(); let data = shapes(#{ train: 16, val: 4, size: 64 });");
    desk.shows(
        "let small = compress(net, data, #{ macs: 0.4, steps: 2, tune_epochs: 1, epochs: 1, size: 64, batch: 8, folder: \"\" })",
    );
    assert_eq!(desk.shows("small.steps.len"), "3\n");
    assert_eq!(
        desk.shows("let share = small.model.macs(64) / net.macs(64).to_float(); (share - 0.4).abs() < 0.002"),
        "true\n"
    );
    assert!(desk.shows("small.run.history").contains("distill_cwd"));
    let both = desk.fails("compress(net, data, #{ macs: 0.4, params: 0.4 })").message;
    assert!(both.contains("compress takes one amount"), "{both}");
    let unknown = desk.fails("compress(net, data, #{ step: 2 })").message;
    assert!(unknown.contains("did you mean \"steps\""), "{unknown}");
    let classes =
        desk.fails("compress(net, data, #{ teacher: yolo(\"yolov5n\", #{ classes: 2, width: 0.1, depth: 0.1 }) })");
    assert!(classes.message.contains("class"), "{classes:?}");
}

#[test]
fn runs_tell_where_their_time_went_and_race() {
    let mut desk = Desk::new(false);
    desk.shows("let net = yolo(\"yolov5n\", #{ classes: 2, width: 0.1, depth: 0.1 }); let data = shapes(#{ train: 8, val: 4, size: 64 });");
    desk.shows("let net = net.with_classes(data); let how = #{ epochs: 2, size: 64, batch: 4, folder: \"\" };");
    desk.shows("let a = net.fit(data, how); let b = distiller(net, net).fit(data, how);");
    for (run, teacher) in [("a", "0"), ("b", "1")] {
        let teachers = format!("{run}.time.filter(|row| row.part == \"teacher\").len");
        assert_eq!(desk.shows(&teachers).trim(), teacher);
        let whole = format!("(numbers({run}.time.column(\"seconds\")).sum() - {run}.seconds).abs() < 1e-6");
        assert_eq!(desk.shows(&whole).trim(), "true");
        for part in ["data", "forward", "loss", "backward", "optimizer", "validation"] {
            assert!(desk.shows(&format!("{run}.time")).contains(part), "{part}");
        }
    }
    assert_eq!(
        desk.shows("[a.reached(0.0) == a.history.column(\"seconds\")[0], a.reached(1.0) == ()]"),
        "[true, true]\n"
    );
    let shown = desk.shows("race(#{ alone: a, both: [a, b] }, #{ marks: [0.0, 0.9] })");
    assert!(shown.contains("alone") && shown.contains("to 0.9"), "{shown}");
    assert_eq!(
        desk.shows("let r = race(#{ both: [a, b] }).table; r.column(\"seconds\")[0] == a.seconds + b.seconds"),
        "true\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("race.svg");
    desk.shows(&format!("race(#{{ alone: a, both: [a, b] }}).plot({path:?})"));
    assert!(std::fs::read_to_string(path).unwrap().contains("seconds"));
    for (wrong, word) in [("race(#{})", "needs a run"), ("race(#{ a: 3 })", "`a` is 3"), ("race(#{ a: [] })", "`a`")] {
        let report = desk.fails(wrong);
        assert!(report.message.contains(word), "{report:?}");
    }
}

#[test]
fn a_sweep_goes_through_a_grid_and_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let call = |shard: &str, function: &str| {
        let path = folder.path().join("sweep");
        format!(
            "sweep(#{{ a: [1, 2.5], kind: [\"x\", \"y\"] }}, {function}, #{{ seeds: 2, folder: {path:?}, shard: {shard:?} }})"
        )
    };
    let function = "|o| { count += 1; if o.kind == \"y\" && o.a == 1 { throw \"no y\" } #{ map: o.a + o.seed * 0.1, macs: o.a * 100 } }";
    let mut desk = Desk::new(false);
    desk.shows("let count = 0;");
    // Two shards, one after the other: each makes half of the runs.
    let shown = desk.shows(&format!("let s = {}; s", call("1/2", function)));
    assert!(shown.contains("4 of 8 runs"), "{shown}");
    assert_eq!(desk.shows("count"), "4\n");
    desk.shows(&format!("let s = {};", call("2/2", function)));
    assert_eq!(desk.shows("[count, s.runs.len, s.table.len]"), "[8, 8, 4]\n");
    assert_eq!(desk.shows("s.table.column(\"map\")[0]"), "1.05\n");
    assert_eq!(desk.shows("s.table.filter(|row| row.failed > 0).column(\"error\")"), "[\"no y\"]\n");
    // What was done is found again, what failed is tried again, and the table is that of an undisturbed sweep.
    desk.shows(&format!("let again = {};", call("1/1", &function.replace("o.a == 1", "o.a == 9"))));
    assert_eq!(desk.shows("[count, again.runs.filter(|row| row.error != ()).len]"), "[10, 0]\n");
    let whole = "sweep(#{ a: [1, 2.5], kind: [\"x\", \"y\"] }, |o| #{ map: o.a + o.seed * 0.1, macs: o.a * 100 }, #{ seeds: 2, folder: \"\" })";
    assert_eq!(desk.shows("again.table.json()"), desk.shows(&format!("{whole}.table.json()")));
    let picture = folder.path().join("front.svg");
    desk.shows(&format!("again.plot({picture:?})"));
    assert!(std::fs::read_to_string(picture).unwrap().contains("a 2.5, kind x"));
    // Runs are figures too.
    desk.shows("let net = yolo(\"yolov5n\", #{ classes: 6, width: 0.1, depth: 0.1 }); let data = shapes(#{ train: 4, val: 2, size: 64 });");
    let runs = "sweep(#{ lr: [0.01, 0.02] }, |o| net.fit(data, #{ lr: o.lr, seed: o.seed, epochs: 1, batch: 4, size: 64, folder: \"\" }), #{ seeds: 1, folder: \"\" })";
    assert_eq!(
        desk.shows(&format!("{runs}.table.filter(|row| row.map >= 0.0 && row.macs == net.macs(640)).len")),
        "2\n"
    );
    for (wrong, word) in [
        ("sweep(#{ a: [] }, |o| o, #{ folder: \"\" })".to_owned(), "`a` has none"),
        ("sweep(#{ seed: [1] }, |o| o, #{ folder: \"\" })".into(), "`seeds`"),
        ("sweep(#{ a: 1 }, |o| o, #{ seed: 1 })".into(), "did you mean \"seeds\""),
        (call("3/2", "|o| o"), "\"2/8\""),
        (call("1/1", "|o| o").replace("2.5", "3"), "another folder"),
        (
            "sweep(#{ a: [1] }, |o| #{ map: 1.0 }, #{ folder: \"\" }).plot(\"x.svg\")".into(),
            "no run has the figure `macs`; there are map",
        ),
    ] {
        let report = desk.fails(&wrong);
        assert!(report.message.contains(word), "{report:?}");
    }
    let odd = desk.shows("sweep(#{ a: [1] }, |o| o.a, #{ folder: \"\" })");
    assert!(odd.contains("it gave 1"), "{odd}");
}
