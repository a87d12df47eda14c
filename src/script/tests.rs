//! The language as scripts see it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::api::Api;
use super::*;
use crate::exec::ComputeDtype;
use crate::report::{Cell, Column, Table};

/// Collects what a session shows.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A session whose output can be looked at.
pub(super) struct Desk {
    session: Session,
    sink: Sink,
    interrupt: Interrupt,
}

impl Desk {
    pub fn new(json: bool) -> Self {
        let (sink, interrupt) = (Sink::default(), Interrupt::default());
        let session = Session::new(Settings {
            interrupt: interrupt.clone(),
            output: Output::new(sink.clone(), json, false, false),
            arguments: vec!["one".into()],
            ..Settings::default()
        });
        Self { session, sink, interrupt }
    }

    /// What evaluating a text shows.
    pub fn shows(&mut self, text: &str) -> String {
        self.sink.0.lock().unwrap().clear();
        if let Err(failure) = self.session.evaluate_and_show("prompt", text) {
            panic!("{text}: {failure:?}");
        }
        String::from_utf8(self.sink.0.lock().unwrap().clone()).unwrap()
    }

    pub fn fails(&mut self, text: &str) -> Report {
        match self.session.evaluate_and_show("prompt", text) {
            Err(Failure::Error(report)) => *report,
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// Adds what only tests call.
pub(super) fn bind(api: &mut Api) {
    api.functions(rhai::exported_manifest!(functions));
}

#[rhai::export_module(manifest)]
mod functions {
    use rhai::Map;

    /// Panics.
    pub fn panicking(options: Map) -> i64 {
        [1, 2][options.len() + 2]
    }
}

fn under(report: &Report) -> &str {
    let place = report.place.as_ref().unwrap();
    &place.text[place.range.clone()]
}

fn table() -> Table {
    let mut table = Table::new("net", [Column::new("layer", "layer"), Column::new("macs", "MACs").sum()]);
    for (name, macs) in [("a", 10), ("b", 3_000_000), ("c", 20)] {
        table.push([name.into(), Cell::Count(macs)]);
    }
    table
}

#[test]
fn a_bare_expression_and_a_let_show_their_value_unless_ended() {
    let mut desk = Desk::new(false);
    assert_eq!(desk.shows("1 + 2"), "3\n");
    assert_eq!(desk.shows("1 + 2;"), "");
    assert_eq!(desk.shows("let a = [1, \"b\", 2.5, #{c: ()}]"), "[1, \"b\", 2.5, #{c: ()}]\n");
    assert_eq!(desk.shows("a[1]"), "b\n");
    assert_eq!(desk.shows("let b = 1; // quiet"), "");
    assert_eq!(desk.shows("if b == 1 { print(\"yes\") }"), "yes\n");
    assert_eq!(desk.shows("args"), "[\"one\"]\n");
}

#[test]
fn functions_and_closures_persist_and_can_be_redefined() {
    let mut desk = Desk::new(false);
    desk.shows("fn f(x) { x + 1 }");
    desk.shows("let g = |x| x * 10;");
    assert_eq!(desk.shows("g.call(f(1))"), "20\n");
    desk.shows("fn f(x) { x + 2 }");
    assert_eq!(desk.shows("f(1)"), "3\n");
    assert_eq!(desk.session.functions(), ["f"]);
}

#[test]
fn a_variable_defined_again_frees_its_old_value() {
    let mut desk = Desk::new(false);
    let probe = Arc::new(0u8);
    desk.session.define("probe", rhai::Dynamic::from(probe.clone()));
    assert_eq!(Arc::strong_count(&probe), 2);
    desk.shows("let probe = 1;");
    assert_eq!(Arc::strong_count(&probe), 1);
}

#[test]
fn json_shows_values_for_programs() {
    let mut desk = Desk::new(true);
    assert_eq!(desk.shows("print(0.1 + 0.2)"), "0.30000000000000004\n");
    assert_eq!(desk.shows("[1, \"a\\n\", true, (), 'c', #{x: 1.0}]"), "[1,\"a\\n\",true,null,\"c\",{\"x\":1.0}]\n");
    desk.session.define("t", rhai::Dynamic::from(table()));
    assert_eq!(
        desk.shows("t.top(1)"),
        "{\"title\":\"net\",\"rows\":[{\"layer\":\"a\",\"macs\":10}],\"totals\":{\"layer\":\"total\",\"macs\":10}}\n"
    );
}

#[test]
fn tables_work_as_scripts_need_them() {
    let mut desk = Desk::new(false);
    desk.session.define("t", rhai::Dynamic::from(table()));
    assert_eq!(desk.shows("t.filter(|row| row.macs > 1e6).column(\"layer\")"), "[\"b\"]\n");
    assert_eq!(desk.shows("t.sort(\"macs\").top(2)[\"layer\"]"), "[\"b\", \"c\"]\n");
    assert_eq!(desk.shows("t.sort(\"macs\", \"ascending\")[0].layer + t[-1].layer + t.len"), "ac3\n");
    assert_eq!(desk.shows("let n = 0; for row in t { n += row.macs; } n"), "3000030\n");
    assert_eq!(desk.shows("t.totals.macs"), "3000030\n");
    assert!(desk.shows("t").contains("3.00 M"));
    assert_eq!(desk.shows("`${t.top(1)}`").lines().count(), 6);
    let report = desk.fails("t.sort(\"mac\")");
    assert_eq!((under(&report), report.message.contains("did you mean \"macs\"?")), ("sort", true));
    let report = desk.fails("t.filter(|row| row.mcs > 1)");
    assert!(report.message.contains("no column \"mcs\" (did you mean \"macs\"?)"), "{report:?}");
    let report = desk.fails("t.filter(|row| 1)");
    assert!(report.message.contains("true or false"), "{report:?}");
    let report = desk.fails("t.filtr(|row| true)");
    assert_eq!((under(&report), report.label.as_deref()), ("filtr", Some("did you mean `filter`?")));
    let report = desk.fails("t.colums");
    assert_eq!((under(&report), report.message.contains("no column \"colums\"")), ("colums", true));
    assert!(desk.fails("t[9]").message.contains("3 rows"));
}

#[test]
fn scripts_make_tables_of_their_own() {
    let mut desk = Desk::new(false);
    let made = "table(\"mine\", [\"name\", \"map\"], [[\"a\", 0.25], [\"b\", ()], [\"c\", 1]])";
    assert_eq!(desk.shows(&format!("{made}.sort(\"map\").column(\"name\")")), "[\"c\", \"a\", \"b\"]\n");
    assert!(desk.shows(made).contains("0.25"));
    for (rows, why) in [("[[1]]", "row 0"), ("[[1, 2], 3]", "row 1"), ("[[1, #{}]]", "not a map")] {
        let report = desk.fails(&format!("table(\"mine\", [\"a\", \"b\"], {rows})"));
        assert!(report.message.contains(why), "{report:?}");
    }
    assert!(desk.fails("table(\"mine\", [1], [])").message.contains("column"));
}

#[test]
fn errors_point_into_the_text_they_come_from() {
    let mut desk = Desk::new(false);
    desk.shows("fn broken(x) {\n  x.missing\n}");
    let report = desk.fails("let m = #{a: 1};\nbroken(m)");
    assert_eq!(under(&report), "missing");
    let place = report.place.clone().unwrap();
    assert!(place.text.starts_with("fn broken"), "{place:?}");
    assert!(report.notes[0].contains("`broken`") && report.notes[0].contains("line 2 of prompt"), "{report:?}");
    assert!(report.render(false).contains("prompt:2:5"), "{}", report.render(false));
}

#[test]
fn unknown_names_are_found_before_anything_runs() {
    let mut desk = Desk::new(false);
    let report = desk.fails("print(\"ran\"); sed(3)");
    assert_eq!((under(&report), report.label.as_deref()), ("sed", Some("did you mean `seed`?")));
    assert!(desk.sink.0.lock().unwrap().is_empty());
    let report = desk.fails("let image = 1; imge");
    assert_eq!((under(&report), report.label.as_deref()), ("imge", Some("did you mean `image`?")));
    desk.shows("let blood = 1;");
    let report = desk.fails("blod + 1");
    assert_eq!((under(&report), report.label.as_deref()), ("blod", Some("did you mean `blood`?")));
    let report = desk.fails("fn f() { blood } f()");
    assert!(report.help.unwrap().contains("pass `blood` as an argument"));
    let report = desk.fails("seed(\"a\")");
    assert!(report.help.unwrap().contains("seed(n: int)"));
}

#[test]
fn an_error_can_be_caught_and_told() {
    let mut desk = Desk::new(false);
    assert!(
        desk.shows("try { device(\"gpu\") } catch (e) { print(\"so: \" + e) }")
            .starts_with("so: there is no device \"gpu\"")
    );
}

#[test]
fn an_interrupt_stops_the_script_and_keeps_the_session() {
    let mut desk = Desk::new(false);
    desk.shows("let a = 1;");
    let interrupt = desk.interrupt.clone();
    let press = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        interrupt.request();
    });
    assert!(matches!(desk.session.evaluate("prompt", "a = 2; loop {}"), Err(Failure::Interrupted)));
    press.join().unwrap();
    assert_eq!(desk.shows("a"), "2\n");
}

#[test]
fn a_panic_is_told_as_a_fault_and_keeps_the_session() {
    let mut desk = Desk::new(false);
    desk.shows("let kept = 42;");
    for call in ["let lost = 1;\npanicking()", "let lost = 1;\npanicking(#{ a: 1 })"] {
        let report = desk.fails(call);
        assert!(report.message.contains("failed in `panicking`; that is its own fault"), "{report:?}");
        assert!(report.message.contains("index out of bounds"), "{report:?}");
        assert!(report.help.as_ref().unwrap().contains("report this message"), "{report:?}");
        assert_eq!(under(&report), "panicking");
        assert!(report.render(false).contains("prompt:2:1"), "{}", report.render(false));
    }
    assert_eq!(desk.shows("kept"), "42\n");
}

#[test]
fn exit_leaves_with_a_code() {
    let mut desk = Desk::new(false);
    assert!(matches!(desk.session.evaluate("prompt", "fn f() { exit(7) } f(); 1"), Err(Failure::Exit(7))));
    assert!(matches!(desk.session.evaluate("prompt", "exit()"), Err(Failure::Exit(0))));
    assert!(desk.fails("exit(-1)").message.contains("0 to 255"));
}

#[test]
fn incomplete_text_is_told_from_wrong_text() {
    let desk = Desk::new(false);
    for text in [
        "fn f(x) {",
        "let a = ",
        "[1,\n2,",
        "f(1, #{",
        "`open\n",
        "1 +",
        "if true {\n  1",
        "/* comment",
        "let a = 1; a.",
    ] {
        assert_eq!(desk.session.syntax(text), Syntax::Incomplete, "{text}");
    }
    for text in ["1 + 1", "let a = 1;", "fn f(x) { x }", "// comment"] {
        assert_eq!(desk.session.syntax(text), Syntax::Complete, "{text}");
    }
    for text in ["\"open", "let = 3", "1 +* 2 \n", ")", "nobody + 1"] {
        assert_eq!(desk.session.syntax(text), Syntax::Wrong, "{text}");
    }
}

#[test]
fn help_comes_from_the_bindings() {
    let mut desk = Desk::new(false);
    let all = desk.shows("help()");
    assert!(all.contains("seed") && all.contains("\nTable\n") && !all.contains("to_debug"), "{all}");
    let sort = desk.shows("help(\"sort\")");
    assert!(
        sort.contains("Table.sort(column: string) -> Table") && sort.contains("Missing values come last"),
        "{sort}"
    );
    assert!(desk.fails("help(\"srt\")").message.contains("did you mean \"sort\"?"));
    // Every function and every type of ours says what it does.
    let nameless: Vec<String> = desk
        .session
        .catalog()
        .entries
        .iter()
        .filter(|entry| entry.own && entry.doc.is_empty() && !matches!(entry.name.as_str(), "to_string" | "to_debug"))
        .filter(|entry| {
            let twin =
                |other: &&Entry| other.name == entry.name && other.receiver == entry.receiver && !other.doc.is_empty();
            !desk.session.catalog().entries.iter().any(|other| twin(&other))
        })
        .map(Entry::signature)
        .collect();
    assert!(nameless.is_empty(), "{nameless:?}");
}

#[test]
fn a_student_may_have_several_teachers() {
    let mut desk = Desk::new(false);
    desk.shows("let net = yolo(\"yolov5n\", #{ classes: 2, width: 0.1, depth: 0.1 })");
    assert_eq!(desk.shows("distiller([net, net], net)").matches("teacher  ").count(), 2);
    assert_eq!(desk.shows("distiller(net, net, #{ cwd: 0 })").matches("teacher  ").count(), 1);
    let report = desk.fails("distiller([net, 3], net)");
    assert!(report.message.contains("array of them") && report.message.contains("i64"), "{report:?}");
    assert!(desk.fails("distiller([], net)").message.contains("needs a teacher"));
    let report = desk.fails("distiller([net, yolo(\"yolov8n\", #{ classes: 2, width: 0.1, depth: 0.1 })], net)");
    assert!(report.message.contains("teacher 2"), "{report:?}");
}

#[test]
fn speed_is_told_as_a_whole_and_by_layers() {
    let mut desk = Desk::new(true);
    desk.shows("let net = yolo(\"yolov5n\", #{ classes: 2, width: 0.1, depth: 0.1 })");
    for call in [
        "net.bench(#{ size: 64, runs: 2 })",
        "net.bench(#{ size: 64, runs: 2, batch: 2, train: true })",
        "distiller(net, net).bench(#{ size: 64, runs: 2, batch: 2 })",
    ] {
        let shown: serde_json::Value = serde_json::from_str(&desk.shows(call)).unwrap();
        let figure = |name: &str| shown[name].as_f64().unwrap();
        assert!(0.0 < figure("fastest") && figure("fastest") <= figure("seconds"), "{call}: {shown}");
        let way = |layer: &serde_json::Value| layer["kind"] == "Conv" && layer["way"] == "direct fp32";
        assert!(shown["layers"].as_array().unwrap().iter().any(way), "{call}: {shown}");
        assert!(shown["instructions"].is_string() && shown["precision"] == "fp32", "{call}: {shown}");
        assert_eq!(desk.shows(&format!("let b = {call}; b.fastest > 0 && b.fastest <= b.seconds")).trim(), "true");
        let slowest = desk.shows(&format!("{call}.layers.filter(|row| row.macs > 0).sort(\"seconds\").top(1)"));
        assert!(slowest.contains("Conv"), "{call}: {slowest}");
    }
    assert!(Desk::new(false).shows("teacher().bench(#{ size: 64, runs: 2 })").contains("of peak"));
    for call in [
        "net.bench(#{ size: 64, runs: 1, ",
        "net.bench(#{ size: 64, runs: 1, train: true, ",
        "distiller(net, net).bench(#{ size: 64, runs: 1, ",
    ] {
        let report = desk.fails(&format!("{call} precision: \"bf61\" }})"));
        assert!(report.message.contains("bf16"), "{report:?}");
        let call = format!("{call} precision: \"bf16\" }}).seconds");
        if ComputeDtype::Bf16.is_native() {
            assert!(desk.shows(&call).trim().parse::<f64>().unwrap() > 0.0);
        } else {
            let report = desk.fails(&call);
            assert!(report.message.contains("AVX-512 BF16"), "{report:?}");
        }
    }
}

#[test]
fn numbers_are_calculated_with_at_once() {
    let mut desk = Desk::new(false);
    assert_eq!(desk.shows("let a = numbers([1, 4]); a * 2 + a / a - 0.5"), "[2.5, 8.5]\n");
    assert_eq!(desk.shows("2 ** a + sqrt(a)"), "[3.0, 18.0]\n");
    assert_eq!(
        desk.shows("[a[0], a[-1], a.len, a.sum(), a.mean(), a.min(), a.max()]"),
        "[1.0, 4.0, 2, 5.0, 2.5, 1.0, 4.0]\n"
    );
    assert_eq!(desk.shows("[numbers([1, 3, 5]).sd(), numbers([7]).sd()]"), "[2.0, 0.0]\n");
    assert_eq!(desk.shows("let all = 0.0; for x in a { all += x } all"), "5.0\n");
    assert!(desk.fails("a + numbers([1])").message.contains("2 numbers do not go with 1"));
    assert!(desk.fails("a[2]").message.contains("there is no number 2; there are 2"));
    assert!(desk.fails("numbers([\"x\"])").message.contains("expected numbers"));
}

#[test]
fn a_function_of_the_script_scores_channels() {
    let mut desk = Desk::new(false);
    desk.shows("fn twice(x) { x * 2 }; let net = teacher(); let bias = 1;");
    desk.shows("let own = pruner(net, #{ importance: |g| twice(g.l2 * g.bn_scale) + bias, macs: 0.5, size: 64 });");
    // In a later text than the function's.
    let own = desk.shows("own.scores().column(\"score\")");
    desk.shows("let l2 = pruner(net, #{ importance: \"l2\", size: 64 }).scores().column(\"score\");");
    desk.shows("let scale = pruner(net, #{ importance: \"bn_scale\", size: 64 }).scores().column(\"score\");");
    assert_eq!(own, desk.shows("(numbers(l2) * numbers(scale) * 2 + 1).to_array()"));
    assert!(desk.shows("own").contains("function"));
    assert_eq!(desk.shows("let slim = own.prune(); slim.macs(64) < net.macs(64) * 0.51"), "true\n");
    // Of data, all criteria.
    let of_data = "pruner(net, #{ importance: |g| g.taylor + g.activation + g.fisher + g.zero_rate, ";
    let data = "data: shapes(#{ train: 2, val: 1, size: 64 }), size: 64, batch: 2 })";
    assert!(desk.shows(&format!("{of_data}{data}.plan()")).contains("plan for"));
    // What is wrong names the group.
    for (function, expected) in [
        ("|g| [1.0]", "gave 1 scores for"),
        ("|g| g.l2 / 0", "finite"),
        ("|g| \"x\"", "gave \"x\""),
        ("|g| throw \"not today\"", "not today"),
        ("|g| g.taylor", "taylor"),
        ("|g| if g.size < 1 { g.l2 } else { g.nothing }", "nothing"),
    ] {
        let found = desk.fails(&format!("pruner(net, #{{ importance: {function}, size: 64 }}).plan()")).message;
        assert!(found.contains(expected) && found.contains("`model."), "{function}: {found}");
    }
    assert!(desk.fails("pruner(net, #{ importance: 1 })").message.contains("or a function"));
    let masks = desk.fails("pruner(net, #{ importance: |g| g.l2, granularity: \"weight\" })").message;
    assert!(masks.contains("function") && masks.contains("magnitude"), "{masks}");
}
