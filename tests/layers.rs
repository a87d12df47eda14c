//! Imports point downwards only, files of a folder form no circles, and some crates stay in their layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{UseTree, visit::Visit};

/// The layers, topmost first: a module may name modules below it, never one above.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["repl"],
    &["script"],
    &["report"],
    &["sweep"],
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
    ("anyhow", &["cli"]),
    ("askama", &["report"]),
    ("candle_core", &["script", "report", "distill", "prune", "train", "eval", "data", "io", "exec", "zoo", "model"]),
];

/// A module's place: `["exec", "fast", "value"]`, or `[]` for the crate itself.
type ModulePath = Vec<String>;

/// A path that a file names, with its line. Paths into our own crate are resolved: they begin with `crate`.
type Named = (usize, Vec<String>);

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

/// The module that a file below `src` holds.
fn module_of(path: &Path, root: &Path) -> ModulePath {
    let inside = path.strip_prefix(root).expect("sources lie below the root").with_extension("");
    let mut module: ModulePath = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// Collects the paths that a file names, those in `#[cfg(test)]` left out.
struct Names {
    module: ModulePath,
    found: Vec<Named>,
}

impl Names {
    fn of(module: &ModulePath, text: &str) -> Result<Vec<Named>, syn::Error> {
        let mut names = Names { module: module.clone(), found: Vec::new() };
        names.visit_file(&syn::parse_file(text)?);
        Ok(names.found)
    }

    /// `crate::…`, `super::…` and `self::…` as paths from the crate on; others as they are.
    fn resolve(&mut self, line: usize, path: &[String]) {
        let mut base = self.module.clone();
        let mut rest = path;
        match rest.first().map(String::as_str) {
            Some("crate" | "espalier") => base.clear(),
            Some("self") => {}
            Some("super") => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
                let resolved = base.into_iter().chain(rest.iter().cloned());
                return self.found.push((line, std::iter::once("crate".to_owned()).chain(resolved).collect()));
            }
            _ => return self.found.push((line, path.to_vec())),
        }
        let resolved = base.into_iter().chain(rest[1..].iter().cloned());
        self.found.push((line, std::iter::once("crate".to_owned()).chain(resolved).collect()));
    }

    fn tree(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        let named = |ident: &syn::Ident, prefix: &[String]| {
            let path: Vec<String> = prefix.iter().cloned().chain([ident.to_string()]).collect();
            (ident.span().start().line, path)
        };
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, prefix)),
            UseTree::Name(name) => {
                let (line, path) = named(&name.ident, prefix);
                self.resolve(line, &path);
            }
            UseTree::Rename(rename) => {
                let (line, path) = named(&rename.ident, prefix);
                self.resolve(line, &path);
            }
            UseTree::Glob(glob) => self.resolve(glob.star_token.spans[0].start().line, prefix),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || path.is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|it| it == "test")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) && item.content.is_some() {
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        if path.segments.len() > 1 {
            self.resolve(line, &path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        }
        syn::visit::visit_path(self, path);
    }

    /// `pub(in …)` takes nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if !is_test(&call.attrs) {
            syn::visit::visit_expr_call(self, call);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }
}

/// All files that are no tests: the module each holds, its path, and what it names.
fn files() -> Vec<(ModulePath, PathBuf, Vec<Named>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 20, "the sources are not where this test looks");
    let read = |path: PathBuf| {
        let module = module_of(&path, &root);
        let text = fs::read_to_string(&path).expect("sources are text");
        let named = Names::of(&module, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (module, path, named)
    };
    let for_tests = |module: &ModulePath| {
        module
            .iter()
            .any(|part| part == "tests" || part == "testing" || part.contains("fixture") || part.ends_with("_tests"))
    };
    paths.into_iter().map(read).filter(|(module, ..)| !for_tests(module)).collect()
}

fn height(module: &str) -> Option<usize> {
    LAYERS.iter().rev().position(|row| row.contains(&module))
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    for (module, path, named) in files() {
        let Some(own) = module.first() else { continue };
        let Some(own_height) = height(own) else {
            wrong.push(format!("{}: module `{own}` is in no layer", path.display()));
            continue;
        };
        for (line, name) in &named {
            match (name[0].as_str(), name.get(1)) {
                ("crate", Some(other)) if height(other).is_some_and(|other| other > own_height) => {
                    wrong.push(format!("{}:{line}: `{own}` names `{other}`, which is above it", path.display()));
                }
                (first, _) => {
                    let confined = CONFINED.iter().find(|(confined, _)| *confined == first);
                    if let Some((_, allowed)) = confined.filter(|(_, allowed)| !allowed.contains(&own.as_str())) {
                        wrong.push(format!("{}:{line}: `{first}` belongs in {allowed:?} alone", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Which of a folder's children name which others, with the first place where they do.
type Folder = BTreeMap<String, BTreeMap<String, String>>;

/// A way from a child back to itself.
fn circle(folder: &Folder) -> Option<Vec<&str>> {
    fn walk<'a>(folder: &'a Folder, way: &mut Vec<&'a str>, done: &mut BTreeSet<&'a str>) -> Option<Vec<&'a str>> {
        let last = way[way.len() - 1];
        for next in folder.get(last).into_iter().flat_map(BTreeMap::keys) {
            if let Some(start) = way.iter().position(|before| before == next) {
                return Some(way[start..].to_vec());
            }
            if !done.contains(next.as_str()) {
                way.push(next);
                if let Some(found) = walk(folder, way, done) {
                    return Some(found);
                }
                way.pop();
            }
        }
        done.insert(last);
        None
    }
    let mut done = BTreeSet::new();
    folder.keys().find_map(|child| walk(folder, &mut vec![child], &mut done))
}

#[test]
fn files_of_a_folder_form_no_circles() {
    let files = files();
    let modules: BTreeSet<&ModulePath> = files.iter().map(|(module, ..)| module).collect();
    let mut folders: BTreeMap<ModulePath, Folder> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (module, path, named) in &files {
        for (line, name) in named.iter().filter(|(_, name)| name[0] == "crate") {
            let name = &name[1..];
            let target = (0..=name.len()).rev().map(|len| name[..len].to_vec()).find(|prefix| modules.contains(prefix));
            let Some(target) = target.filter(|target| !target.is_empty() && target != module) else { continue };
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            let at = format!("{}:{line}", path.display());
            if shared == target.len() {
                let what = name.get(shared).map_or("*", String::as_str);
                wrong.push(format!(
                    "{at}: takes `{what}` from the `mod.rs` of its own folder, not from the file that has it"
                ));
            } else if shared > 0 && shared < module.len() {
                let folder = folders.entry(module[..shared].to_vec()).or_default();
                let reads = folder.entry(module[shared].clone()).or_default();
                reads.entry(target[shared].clone()).or_insert(at);
            }
        }
    }
    for (folder, children) in &folders {
        if let Some(way) = circle(children) {
            let steps = way.iter().zip(way.iter().cycle().skip(1));
            let steps = steps.map(|(from, to)| format!("  {from} names {to} at {}", children[*from][*to]));
            let steps: Vec<String> = steps.collect();
            wrong.push(format!("a circle in `{}`:\n{}", folder.join("::"), steps.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "\n{} places:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_import_is_seen_wherever_it_stands() {
    let module: ModulePath = ["exec", "fast"].map(String::from).to_vec();
    let text = "use crate::{graph::{Op, Node}, model};\nuse super::{numbers, super::io as files};\nuse rhai::Map;\n\
                fn f() -> crate::zoo::Fresh { crate::train::fit() }\n// crate::repl is only talked of\n\
                #[cfg(test)] mod tests { use crate::script::Engine; }\nmod inner { use super::value::Value; }";
    let names: Vec<String> = Names::of(&module, text)
        .unwrap()
        .into_iter()
        .map(|(line, name)| format!("{line} {}", name.join("::")))
        .collect();
    let expected = [
        "1 crate::graph::Op",
        "1 crate::graph::Node",
        "1 crate::model",
        "2 crate::exec::numbers",
        "2 crate::io",
        "3 rhai::Map",
        "4 crate::zoo::Fresh",
        "4 crate::train::fit",
        "7 crate::exec::fast::value::Value",
    ];
    assert_eq!(names, expected);
    assert!(height("repl") > height("script") && height("graph") > height("progress"));
}

#[test]
fn a_circle_is_found() {
    let folder = |edges: &[(&str, &str)]| {
        let mut folder = Folder::new();
        for (from, to) in edges {
            folder.entry((*from).into()).or_default().insert((*to).into(), String::new());
        }
        folder
    };
    assert_eq!(circle(&folder(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(circle(&folder(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b", "c"]));
}
