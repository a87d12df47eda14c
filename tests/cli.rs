//! The program from outside: command line, scripts, pipes, exit codes, and the prompt in a terminal.

use std::io::Write;
use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use assert_cmd::Command;
use expectrl::{Eof, Expect, Session};
use predicates::prelude::*;
use predicates::str::contains;

fn espalier() -> Command {
    Command::cargo_bin("espalier").unwrap()
}

fn script(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".rhai").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn code_shows_its_value_and_prints() {
    espalier().args(["-c", "print(\"a\"); 1 + 2"]).assert().code(0).stdout("a\n3\n");
    espalier().args(["-c", "args", "x", "--y"]).assert().code(0).stdout("[\"x\", \"--y\"]\n");
}

#[test]
fn files_and_pipes_are_evaluated_the_same_way() {
    let file = script("#!/usr/bin/env espalier\nfn double(x) { x * 2 }\nprint(args);\ndouble(args.len)\n");
    espalier().arg(file.path()).args(["a", "b"]).assert().code(0).stdout("[\"a\", \"b\"]\n4\n");
    espalier().write_stdin("let x = 20;\nx + 1").assert().code(0).stdout("21\n");
    espalier().args(["-", "q"]).write_stdin("args[0]").assert().code(0).stdout("q\n");
}

#[test]
fn a_module_is_looked_for_beside_its_script() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("helpers.rhai"), "fn triple(x) { x * 3 }").unwrap();
    std::fs::write(folder.path().join("main.rhai"), "import \"helpers\" as h;\nh::triple(4)").unwrap();
    espalier().arg(folder.path().join("main.rhai")).assert().code(0).stdout("12\n");
    // An error in a module points into the module.
    std::fs::write(folder.path().join("helpers.rhai"), "// one\nfn triple(x) {\n    x.missing\n}").unwrap();
    let shown = espalier().arg(folder.path().join("main.rhai")).assert().code(1);
    shown.stderr(contains("helpers.rhai:3:7").and(contains("x.missing")).and(contains("called here (line 2 of")));
    std::fs::write(folder.path().join("helpers.rhai"), "fn triple(x) { x +* 3 }").unwrap();
    espalier().arg(folder.path().join("main.rhai")).assert().code(1).stderr(contains("helpers.rhai:1:19"));
}

/// Fine-tuning and distillation with terms of every way of computing, down to the last digit.
#[test]
fn training_does_not_depend_on_the_number_of_threads() {
    let code = r#"
        let data = shapes(#{ train: 12, val: 4, size: 96 });
        let slim = pruner(teacher(), #{ macs: 0.5, size: 96 }).prune();
        let fit = #{ epochs: 1, size: 96, batch: 6, validate: false, folder: "" };
        let terms = #{ hint: 0.1, mgd: 0.1, at: 1, sp: 1, cwd: #{ adapter: "linear" } };
        for run in [slim.fit(data, fit), distiller(teacher(), slim, terms).fit(data, fit)] {
            print(run.last.loss(data, #{ size: 96, split: "val" }));
        }
    "#;
    let with = |threads: &str| espalier().args(["--quiet", "--threads", threads, "-c", code]).output().unwrap();
    let one = with("1");
    let text = String::from_utf8(one.stdout.clone()).unwrap();
    assert!(one.status.success() && text.lines().all(|line| line.parse::<f64>().unwrap() > 0.0), "{one:?}");
    assert_eq!(text.lines().count(), 2, "{text}");
    for threads in ["2", "7"] {
        assert_eq!(String::from_utf8(with(threads).stdout).unwrap(), text, "{threads} threads");
    }
}

#[test]
fn json_lines_keep_every_digit() {
    let output = espalier().args(["--json", "-c", "print(1.0 / 3.0); #{a: [1, 2.5], b: \"ü\"}"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap().parse::<f64>().unwrap().to_bits(), (1.0f64 / 3.0).to_bits());
    let value: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(value, serde_json::json!({ "a": [1, 2.5], "b": "ü" }));
}

#[test]
fn a_syntax_error_in_line_40_is_shown_there() {
    let file = script(&format!("{}let x = (1 + ;\nlet y = 2;\n", "let a = 1;\n".repeat(39)));
    let shown = espalier().arg(file.path()).assert().code(1);
    let text = String::from_utf8(shown.get_output().stderr.clone()).unwrap();
    assert!(text.contains(&format!("{}:40:14", file.path().display())), "{text}");
    let (code, caret) = (text.lines().position(|line| line.contains("40 │ let x = (1 + ;")), text.find('┬'));
    assert!(code.is_some() && caret.is_some(), "{text}");
    assert!(shown.get_output().stdout.is_empty());
}

#[test]
fn script_errors_name_what_is_wrong_and_what_was_meant() {
    let run = |code: &str| espalier().args(["-c", code]).assert().code(1);
    run("sead(1)").stderr(contains("there is no function `sead`").and(contains("did you mean `seed`?")));
    run("let data = 1; dta").stderr(contains("there is no variable `dta`").and(contains("did you mean `data`?")));
    run("device(\"cuda:7\")").stderr(contains("there is no device \"cuda:7\"").and(contains("cpu")));
    run("throw \"mine\"").stderr(contains("Error: mine"));
    espalier().arg("no/such/file.rhai").assert().code(1).stderr(contains("cannot read no/such/file.rhai"));
}

/// What running a script says on the error stream; it must fail.
fn complaint(code: &str) -> String {
    let shown = espalier().args(["-c", code]).assert().code(1);
    String::from_utf8(shown.get_output().stderr.clone()).unwrap()
}

#[test]
fn bad_options_are_pointed_at() {
    let pruner = |options: &str| complaint(&format!("pruner(yolo(\"yolov5n\", #{{ classes: 2 }}), #{{ {options} }})"));
    let text = pruner("macs: 0.5, importanc: \"l1\"");
    assert!(text.contains("pruner has no option \"importanc\" (did you mean \"importance\"?)"), "{text}");
    assert!(text.contains("its options are granularity, importance, strategy, scope"), "{text}");
    // The caret is under the key: line 1, where `importanc` begins.
    assert!(text.contains("-c:1:56"), "{text}");
    assert!(pruner("macs: 1.5").contains("option \"macs\" of pruner takes a number from 0.001 to 1, not 1.5"));
    assert!(pruner("ratio: \"half\"").contains("takes a number from 0 to 0.999, not \"half\""));
    assert!(pruner("round_to: 2.5").contains("takes a whole number from 1 to 1024, not 2.5"));
    assert!(pruner("scope: \"globl\"").contains("not \"globl\" (did you mean \"global\"?)"));
    assert!(pruner("macs: 0.5, ratio: 0.5").contains("one amount"));
    assert!(pruner("ignore: \"model.99\"").contains("model.99"));
    let text = complaint("pruner(yolo(\"yolov5n\", #{ classes: 2 }), #{ macs: 0.01 }).plan()");
    assert!(text.contains("MACs") && text.contains("pruner"), "{text}");
    assert!(
        complaint("yolo(\"yolov5n\", #{ classes: \"cat\" })")
            .contains("a number of classes, an array of names or a Dataset")
    );
    assert!(complaint("shapes(#{ size: 8 })").contains("from 32 to 4096, not 8"));
    assert!(complaint("yolo(\"yolov6n\")").contains("yolov5n"));
    let text = complaint("yolo(\"yolov5n\").fit(1)");
    assert!(text.contains("cannot be called with (Model, int)") && text.contains("Model.fit(data: Dataset"), "{text}");
    assert!(complaint("yolo(\"yolov5n\").sav(\"x\")").contains("did you mean `save`?"));
    assert!(complaint("yolo(\"yolov5n\").to(\"cuda:3\")").contains("there is no device \"cuda:3\""));
}

#[test]
fn files_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("text.jpg"), "not a picture").unwrap();
    std::fs::write(path("data.yaml"), "train: images\nval: images\n").unwrap();
    std::fs::write(path("net.pt"), "not a zip").unwrap();
    let text = complaint(&format!("yolo(\"yolov5n\").predict({:?})", path("text.jpg")));
    assert!(text.contains("text.jpg"), "{text}");
    let text = complaint(&format!("dataset({:?})", path("data.yaml")));
    assert!(text.contains("data.yaml") && text.contains("names"), "{text}");
    let text = complaint(&format!("load({:?})", path("net.pt")));
    assert!(text.contains("net.pt"), "{text}");
    let text = complaint(&format!("yolo(\"yolov5n\").save({:?})", path("net.pt/net.safetensors")));
    assert!(text.contains("net.pt/net.safetensors"), "{text}");
    let text = complaint(&format!("yolo(\"yolov5n\").summary().csv({:?})", path("net.pt/such.csv")));
    assert!(text.contains("net.pt/such.csv"), "{text}");
    assert!(complaint("yolo(\"yolov5n\").evaluate(shapes(#{ train: 2, val: 2 }))").contains("80 classes"));
    assert!(complaint("yolo(\"yolov5n\").bench(#{ size: 100 })").contains("multiple of"));
    let text =
        complaint("distiller(yolo(\"yolov5n\", #{ classes: [\"cat\"] }), yolo(\"yolov5n\", #{ classes: [\"dog\"] }))");
    assert!(text.contains("cat") && text.contains("dog"), "{text}");
    assert!(complaint("distiller(yolo(\"yolov5n\"), yolo(\"yolov8n\"))").contains("head is"));
}

#[test]
fn a_script_goes_the_whole_way_without_files() {
    let folder = tempfile::tempdir().unwrap();
    let script = script(
        r#"
        seed(3);
        let data = shapes(#{ train: 8, val: 4, size: 64 });
        let net = yolo("yolov5n", #{ classes: data.classes, width: 0.125 });
        let slim = pruner(net, #{ importance: "l2", macs: 0.5, size: 64 }).prune();
        let pair = distiller(net, slim, #{ logits: 0.5, temperature: 4.0 });
        let run = pair.fit(data, #{ epochs: 2, batch: 4, size: 64, folder: args[0] + "/run" });
        run.model.save(args[0] + "/slim.safetensors");
        let back = load(args[0] + "/slim.safetensors");
        data.show(args[0] + "/sheet.png", #{ images: 4 });
        run.plot(args[0] + "/curves.svg");
        print(run);
        print(back.evaluate(data, #{ size: 64 }));
        compare(net, slim, back, #{ size: 64, runs: 2, warm_up: 1, data: data })
        "#,
    );
    let shown = espalier().arg("--json").arg(script.path()).arg(folder.path()).assert().code(0);
    let text = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0]["epochs"], 2);
    assert!(lines[1]["scores"]["overall"]["map"].is_number(), "{text}");
    let rows = lines[2]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let share = rows[1]["macs_share"].as_f64().unwrap();
    assert!((0.495..=0.505).contains(&share), "{share}");
    assert_eq!(rows[1]["params"], rows[2]["params"]);
    for file in ["run/results.csv", "run/curves.png", "run/weights/best.safetensors", "sheet.png", "curves.svg"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}

#[test]
fn exit_codes() {
    espalier().args(["-c", "exit(3); print(1)"]).assert().code(3).stdout("");
    espalier().arg("--no-such-flag").assert().code(2).stderr(contains("--no-such-flag"));
    espalier().args(["--device", "cuda:9", "-c", "1"]).assert().code(2).stderr(contains("cpu"));
    espalier().args(["--threads", "0", "-c", "1"]).assert().code(2);
    espalier().args(["--seed", "7", "-c", "seed()"]).assert().code(0).stdout("7\n");
}

/// A standard output that is at fault itself.
struct Faulty;

impl Write for Faulty {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        panic!("the page is full")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The whole program, as `main` runs it, in a process of its own: this one, started again.
#[test]
fn a_panic_ends_a_script_with_1_and_says_what_to_do() {
    const CHILD: &str = "ESPALIER_TEST_FAULTY_OUTPUT";
    if std::env::var_os(CHILD).is_some() {
        let arguments = ["espalier", "-c", "let x = 1;\nprint(x)"].map(Into::into);
        std::process::exit(espalier::cli::main(arguments, Faulty).into());
    }
    let name = "a_panic_ends_a_script_with_1_and_says_what_to_do";
    let run = |backtrace: &str| {
        let mut child = Process::new(std::env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").env("RUST_BACKTRACE", backtrace);
        let output = child.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run("0");
    assert_eq!(code, Some(1), "{told}");
    for part in ["Error: Espalier failed", "its own fault", "the page is full", "cli.rs:", "please report", "print(x)"]
    {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    assert!(!told.contains("panicked at") && !told.contains("stack backtrace"), "{told}");
    let (code, told) = run("1");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("panicked at") && told.contains("please report"), "{told}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_script_ends_with_130() {
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("espalier"))
        .args(["-c", "print(\"ready\"); loop {}"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Once it has printed, its handler is in place.
    let mut first = [0u8; 5];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let killed = Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[cfg(unix)]
type Terminal = Session<expectrl::process::unix::UnixProcess, expectrl::process::unix::PtyStream>;

/// The prompt in a pseudo-terminal, its history in a folder of its own.
#[cfg(unix)]
fn prompt(home: &Path) -> Terminal {
    let mut command = Process::new(assert_cmd::cargo::cargo_bin("espalier"));
    command.env("HOME", home).env("XDG_DATA_HOME", home).env("NO_COLOR", "1").env("TERM", "xterm").current_dir(home);
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    ready(&mut session);
    session
}

/// Waits until the prompt takes input: what is typed while the terminal changes its mode may get lost.
#[cfg(unix)]
fn ready(session: &mut Terminal) {
    session.expect("espalier> ").unwrap();
    std::thread::sleep(Duration::from_millis(200));
}

/// Types, waits for what it must show, and for the next prompt.
#[cfg(unix)]
fn type_and_see(session: &mut Terminal, keys: &str, shown: &str) {
    session.send(keys).unwrap();
    if let Err(error) = session.expect(shown) {
        panic!("typed {keys:?}, expected {shown:?}: {error}");
    }
    ready(session);
}

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const CTRL_R: &str = "\u{12}";

#[cfg(unix)]
#[test]
fn the_prompt_takes_several_lines_and_survives_errors_and_ctrl_c() {
    let home = tempfile::tempdir().unwrap();
    let mut session = prompt(home.path());
    session.send("fn double(x) {\r").unwrap();
    type_and_see(&mut session, "x * 2 }\r", "\r\n");
    type_and_see(&mut session, "let kept = double(21)\r", "42");
    type_and_see(&mut session, "kpt + 1\r", "did you mean `kept`?");
    session.send("print(\"busy\"); loop {}\r").unwrap();
    session.expect("busy\r\n").unwrap();
    type_and_see(&mut session, CTRL_C, "the session is still here");
    // At an unfinished line too.
    session.send("let half = [1,").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    type_and_see(&mut session, CTRL_C, "\n");
    type_and_see(&mut session, "`still ${kept + 1}`\r", "still 43");
    type_and_see(&mut session, ":time kept\r", "s\r\n");
    type_and_see(&mut session, ":vars\r", "kept");
    session.send(CTRL_D).unwrap();
    session.expect(Eof).unwrap();
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_training_and_gives_the_run_so_far() {
    let home = tempfile::tempdir().unwrap();
    let mut session = prompt(home.path());
    type_and_see(&mut session, "let data = shapes(#{ train: 8, val: 4, size: 64 })\r", "8 train");
    type_and_see(&mut session, "let net = yolo(\"yolov5n\", #{ classes: data, width: 0.125 });\r", "\n");
    session.send("let run = net.fit(data, #{ epochs: 5000, batch: 4, size: 64, folder: \"\" })\r").unwrap();
    // An epoch's validation row: it is under way.
    session.expect("mAP50-95").unwrap();
    type_and_see(&mut session, CTRL_C, "stopped early");
    type_and_see(&mut session, "[run.stopped, run.history.len > 0, run.model.classes.len]\r", "[true, true, 6]");
    session.send(CTRL_D).unwrap();
    session.expect(Eof).unwrap();
}

#[cfg(unix)]
#[test]
fn the_prompt_completes_and_remembers() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("quickscript.rhai"), "let from_file = 99;\nprint(from_file);").unwrap();
    let mut session = prompt(home.path());
    type_and_see(&mut session, "let options = #{ learning: 7 };\r", "\n");
    // A variable, then a key of its value.
    type_and_see(&mut session, "opt\t.lea\t\r", "7\r\n");
    // A file.
    type_and_see(&mut session, ":run quick\t\r", "99\r\n");
    // An option of a call, and one of its choices.
    type_and_see(&mut session, "yolo(\"yolov8n\", #{ cla\t2 }).cl\t\r", "[\"0\", \"1\"]");
    type_and_see(&mut session, "from_file + 1\r", "100");
    type_and_see(&mut session, ":save out.rhai\r", "saved");
    session.send("exit\r").unwrap();
    session.expect(Eof).unwrap();
    let replayed = espalier().arg(home.path().join("out.rhai")).assert().code(0);
    replayed.stdout("7\n99\n[\"0\", \"1\"]\n100\n");

    // The history of the first session, by search and as a list.
    let mut session = prompt(home.path());
    session.send(CTRL_R).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    session.send("#{ learn").unwrap();
    session.expect("let options = #{ learning: 7 }").unwrap();
    session.send("\r").unwrap();
    ready(&mut session);
    type_and_see(&mut session, "options.learning\r", "7\r\n");
    type_and_see(&mut session, ":history\r", ":run quickscript.rhai");
    session.send(CTRL_D).unwrap();
    session.expect(Eof).unwrap();
}

/// The scripts that come with the program.
fn shipped() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "rhai"));
    scripts.sort();
    scripts
}

#[test]
fn every_shipped_script_compiles_and_names_functions_and_options_that_exist() {
    use espalier::script;
    assert!(shipped().len() >= 4);
    for path in shipped() {
        let mut session = script::Session::new(script::Settings::default());
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(failure) = session.check(&path.display().to_string(), &text) {
            panic!("{}: {failure:?}", path.display());
        }
        let misspelt = text.replace("seed(", "sed(").replace("macs:", "mcs:");
        assert!(session.check("misspelt", &misspelt).is_err(), "{}", path.display());
    }
}

#[test]
fn the_quick_shipped_scripts_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/look.rhai");
    let shown = espalier().arg(path).current_dir(folder.path()).assert().code(0);
    shown.stdout(contains("mAP50-95").and(contains("bn_scale: ")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
