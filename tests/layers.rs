//! Imports point downwards only: a module may name modules below it in this list, never one above.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The layers, topmost first.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["repl"],
    &["script"],
    &["report"],
    &["distill"],
    &["prune"],
    &["train"],
    &["eval"],
    &["data"],
    &["io"],
    &["exec"],
    &["zoo"],
    &["model"],
    &["graph"],
    &["options"],
    &["boxes", "nearest", "progress", "testing"],
];

/// Crates that only some layers may name, so that the core stays free of terminals and tables.
const CONFINED: &[(&str, &[&str])] = &[
    ("rustyline", &["repl"]),
    ("rhai", &["script", "repl"]),
    ("comfy_table", &["report"]),
    ("plotters", &["report"]),
    ("textplots", &["report"]),
    ("anyhow", &["main"]),
    ("candle_core", &["script", "report", "distill", "prune", "train", "eval", "data", "io", "exec", "zoo", "model"]),
];

fn height(module: &str) -> Option<usize> {
    LAYERS.iter().rev().position(|row| row.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source folder can be listed") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level module a file belongs to: its folder below `src`, or its own name.
fn module_of(path: &Path, root: &Path) -> String {
    let inside = path.strip_prefix(root).expect("sources lie below the root");
    let first = inside.iter().next().expect("a file has a name").to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Modules of our own that a text names, each with its line: `crate::a::b`, and each of `crate::{a, b::{c, d}}`.
fn named_modules(text: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (index, _) in text.match_indices("crate::") {
        let line = text[..index].matches('\n').count() + 1;
        let start_of_line = text[..index].rfind('\n').map_or(0, |at| at + 1);
        if text[start_of_line..index].contains("//") {
            continue;
        }
        let rest = &text[index + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            named.push((line, identifier(rest)));
            continue;
        };
        let (mut depth, mut at_start) = (1, true);
        for (position, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => at_start = true,
                c if c.is_alphabetic() && depth == 1 && at_start => {
                    named.push((line, identifier(&list[position..])));
                    at_start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    named
}

#[test]
fn imports_point_downwards() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are not where this test looks");
    let mut wrong = Vec::new();
    for file in files {
        let own = module_of(&file, &root);
        if own == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources are text").replace("espalier::", "crate::");
        let Some(own_height) = height(&own) else {
            wrong.push(format!("{}: module `{own}` is in no layer", file.display()));
            continue;
        };
        for (line, other) in named_modules(&text) {
            if height(&other).is_some_and(|other_height| other_height > own_height) {
                wrong.push(format!("{}:{line}: `{own}` names `{other}`, which is above it", file.display()));
            }
        }
        for (name, allowed) in CONFINED {
            let is_named = text.contains(&format!("{name}::")) || text.contains(&format!("use {name};"));
            if is_named && !allowed.contains(&own.as_str()) {
                wrong.push(format!("{}: `{name}` belongs in {allowed:?} alone", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_import_is_seen_wherever_it_stands() {
    let text =
        "use crate::{graph::{Op, Node}, model};\nlet x = crate::exec::infer();\n// crate::repl is only talked of";
    let names: Vec<String> = named_modules(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["graph", "model", "exec"]);
    assert!(height("repl") > height("script") && height("graph") > height("progress"));
}
