//! Completion of names, options, their choices and files.

use std::collections::BTreeSet;
use std::path::Path;

use super::commands::COMMANDS;
use super::infer::{Before, infer};
use crate::report::Table;
use crate::script::scan::{self, OpenCall, TokenKind};
use crate::script::{EntryKind, OptionKind, OptionSet, Session, Spec};

/// Where the word to be completed begins, and what could stand there.
pub fn complete(session: &Session, line: &str, pos: usize) -> (usize, Vec<Candidate>) {
    let before = &line[..pos];
    if let Some(found) = command(before) {
        return found;
    }
    let last = scan::tokens(before).pop();
    match last {
        Some(token) if token.kind == TokenKind::Comment => (pos, Vec::new()),
        Some(token) if matches!(token.kind, TokenKind::Text { closed: false, .. }) => {
            in_string(session, before, token.range.start + 1)
        }
        last => {
            let word = last.filter(|token| token.kind == TokenKind::Word && token.range.end == pos);
            let start = word.map_or(pos, |token| token.range.start);
            (start, word_candidates(session, before, start))
        }
    }
}

/// A possible completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What is listed.
    pub display: String,
    /// What is put into the line.
    pub replacement: String,
}

impl Candidate {
    fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { display: text.clone(), replacement: text }
    }
}

impl rustyline::completion::Candidate for Candidate {
    fn display(&self) -> &str {
        &self.display
    }

    fn replacement(&self) -> &str {
        &self.replacement
    }
}

/// The option set of the call that is open.
pub fn option_set(session: &Session, before: &str, call: &OpenCall) -> Option<&'static OptionSet> {
    let receiver = before[..call.at].trim_end().strip_suffix('.').and_then(|object| infer(session, object));
    let name = receiver.and_then(|receiver| session.type_name_of(receiver.type_id()));
    session.options(&call.name, name)
}

fn word_candidates(session: &Session, before: &str, start: usize) -> Vec<Candidate> {
    let word = &before[start..];
    let fits = |name: &&str| name.starts_with(word);
    let rest = before[..start].trim_end();
    if let Some(object) = rest.strip_suffix('.').filter(|object| !object.ends_with('.')) {
        let Some(found) = infer(session, object) else { return Vec::new() };
        let mut names: BTreeSet<&str> =
            session.catalog().of_type(found.type_id()).map(|entry| entry.name.as_str()).collect();
        names.retain(|name| !matches!(*name, "to_string" | "to_debug"));
        let mut candidates: Vec<Candidate> = Vec::new();
        if let Before::Value(value) = &found
            && let Some(map) = value.read_lock::<rhai::Map>()
        {
            candidates.extend(map.keys().map(|key| key.as_str()).filter(fits).map(Candidate::new));
        }
        candidates.extend(names.into_iter().filter(fits).map(|name| method(session, found.type_id(), name)));
        return candidates;
    }
    if let Some(call) = scan::open_call(&before[..start])
        && let Some(options) = call.options.as_ref().filter(|options| options.value_of.is_none())
        && let Some(set) = option_set(session, before, &call)
    {
        let open =
            set.inside(&options.within).into_iter().filter(|spec| !options.keys.iter().any(|key| key == spec.key));
        let candidate = |spec: Spec| Candidate { display: spec.key.into(), replacement: format!("{}: ", spec.key) };
        return open.filter(|spec| spec.key.starts_with(word)).map(candidate).collect();
    }
    if word.is_empty() {
        return Vec::new();
    }
    let mut names: BTreeSet<String> = session.variables().into_iter().map(|(name, _, _)| name).collect();
    names.extend(session.functions());
    names.extend(scan::KEYWORDS.iter().map(|&word| word.to_owned()));
    let functions = session.catalog().entries.iter().filter(|entry| entry.kind == EntryKind::Function);
    names.extend(functions.map(|entry| entry.name.clone()));
    names
        .into_iter()
        .filter(|name| name.starts_with(word))
        .map(|name| {
            let native = session.catalog().named(&name).any(|entry| entry.kind == EntryKind::Function);
            let takes = native || session.functions().contains(&name);
            let replacement = if takes { format!("{name}(") } else { name.clone() };
            Candidate { display: name, replacement }
        })
        .collect()
}

fn method(session: &Session, id: std::any::TypeId, name: &str) -> Candidate {
    let entry = session.catalog().of_type(id).find(|entry| entry.name == name);
    let replacement = match entry.map(|entry| entry.kind) {
        Some(EntryKind::Property) => name.to_owned(),
        _ => format!("{name}("),
    };
    Candidate { display: name.into(), replacement }
}

/// Inside a string: the choices of an option, the columns of a table, or files.
fn in_string(session: &Session, before: &str, start: usize) -> (usize, Vec<Candidate>) {
    let word = &before[start..];
    let outside = &before[..start - 1];
    let mut known: Vec<String> = Vec::new();
    if let Some(call) = scan::open_call(outside) {
        let options = call.options.clone().unwrap_or_default();
        if let Some(key) = options.value_of {
            let specs = option_set(session, outside, &call).map(|set| set.inside(&options.within)).unwrap_or_default();
            let spec = specs.iter().find(|spec| spec.key == key);
            if let Some(OptionKind::Plain(kind) | OptionKind::Callable(kind)) = spec.map(|spec| &spec.kind) {
                known.extend(kind.choices().iter().map(|&choice| choice.to_owned()));
            }
        } else if let Some(object) = before[..call.at].trim_end().strip_suffix('.') {
            if let Some(Before::Value(value)) = infer(session, object)
                && let Some(table) = value.read_lock::<Table>()
            {
                known.extend(table.columns().iter().map(|column| column.name.clone()));
            }
        } else if call.name == "help" {
            known.extend(session.catalog().entries.iter().filter(|entry| entry.own).map(|entry| entry.name.clone()));
            known.dedup();
        }
    }
    if known.is_empty() {
        return files(before, start);
    }
    (start, known.into_iter().filter(|name| name.starts_with(word)).map(Candidate::new).collect())
}

fn files(before: &str, start: usize) -> (usize, Vec<Candidate>) {
    let typed = &before[start..];
    let cut = typed.rfind('/').map_or(0, |at| at + 1);
    let (folder, prefix) = typed.split_at(cut);
    let path = match folder.strip_prefix("~/").and_then(|rest| Some(etcetera::home_dir().ok()?.join(rest))) {
        Some(path) => path,
        None if folder.is_empty() => Path::new(".").to_owned(),
        None => Path::new(folder).to_owned(),
    };
    let Ok(entries) = std::fs::read_dir(path) else { return (start + cut, Vec::new()) };
    let mut candidates: Vec<Candidate> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !prefix.starts_with('.');
            let folder = entry.path().is_dir();
            (name.starts_with(prefix) && !hidden)
                .then(|| Candidate::new(if folder { format!("{name}/") } else { name }))
        })
        .collect();
    candidates.sort_by(|a, b| a.display.cmp(&b.display));
    (start + cut, candidates)
}

fn command(before: &str) -> Option<(usize, Vec<Candidate>)> {
    let line = before.trim_start();
    let start = before.len() - line.len();
    match line.split_once(' ') {
        None if line.starts_with(':') => {
            let names = COMMANDS.iter().filter(|(name, _, _)| name.starts_with(line));
            let candidate = |(name, argument, _): &(&str, &str, &str)| Candidate {
                display: (*name).into(),
                replacement: if argument.is_empty() { (*name).into() } else { format!("{name} ") },
            };
            Some((start, names.map(candidate).collect()))
        }
        Some((":run" | ":save", rest)) => Some(files(before, before.len() - rest.len())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::repl::hint::hint;
    use crate::script::Settings;

    fn session() -> Session {
        let mut session = Session::new(Settings::default());
        let lines = "let net = yolo(\"yolov5n\", #{ width: 0.125 }); let table = net.layers(); fn mine(x) { x }";
        assert!(session.evaluate("prompt", lines).is_ok());
        session
    }

    fn found(session: &Session, line: &str) -> Vec<String> {
        complete(session, line, line.len()).1.into_iter().map(|candidate| candidate.replacement).collect()
    }

    #[test]
    fn names_and_methods_by_type() {
        let session = session();
        assert_eq!(found(&session, "let a = prune"), ["pruner("]);
        assert_eq!(found(&session, "net"), ["net"]);
        assert_eq!(found(&session, "mine"), ["mine("]);
        assert_eq!(found(&session, "net.sum"), ["summary("]);
        assert_eq!(found(&session, "net.cl"), ["classes"]);
        // Through a chain of calls, by what each gives.
        assert_eq!(found(&session, "net.layers().top(3).fil"), ["filter("]);
        assert_eq!(found(&session, "pruner(net, #{ macs: 0.5 }).pl"), ["plan("]);
        assert_eq!(found(&session, "\"text\".to_up"), ["to_upper("]);
        assert!(found(&session, "nobody.").is_empty() && found(&session, "1 // pru").is_empty());
    }

    #[test]
    fn options_and_their_choices() {
        let session = session();
        assert_eq!(found(&session, "pruner(net, #{ macs: 0.5, imp"), ["importance: "]);
        assert!(!found(&session, "pruner(net, #{ macs: 0.5, ").contains(&"macs: ".to_owned()));
        assert_eq!(found(&session, "pruner(net, #{ importance: \"bn"), ["bn_scale"]);
        assert_eq!(found(&session, "net.fit(data, #{ optim"), ["optimizer: "]);
        assert_eq!(found(&session, "distiller(a, b, #{ cwd: #{ temp"), ["temperature: "]);
        assert_eq!(
            found(&session, "distiller(a, b, #{ at: 1, cwd: #{ weight: 1, schedule: \"co"),
            ["constant", "cosine"]
        );
        assert_eq!(found(&session, "table.sort(\"macs_"), ["macs_share"]);
        assert_eq!(found(&session, "help(\"recali"), ["recalibrate"]);
    }

    #[test]
    fn files_and_commands() {
        let session = session();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("weights.pt"), "").unwrap();
        std::fs::create_dir(folder.path().join("week")).unwrap();
        let line = format!("load(\"{}/we", folder.path().display());
        let (start, candidates) = complete(&session, &line, line.len());
        assert_eq!(&line[start..], "we");
        assert_eq!(candidates.iter().map(|one| one.replacement.as_str()).collect::<Vec<_>>(), ["week/", "weights.pt"]);
        assert_eq!(found(&session, ":t"), [":time "]);
        assert_eq!(found(&session, &format!(":run {}/wei", folder.path().display())), ["weights.pt"]);
    }

    #[test]
    fn hints_show_signatures_options_and_ranges() {
        let session = session();
        let shown = |line: &str| hint(&session, line).map(|hint| hint.display.trim().to_owned());
        assert_eq!(shown("pruner(").as_deref(), Some("model: Model, options: map)"));
        assert_eq!(shown("net.layer(").as_deref(), Some("name: string)"));
        assert!(shown("shapes(#{ ").unwrap().starts_with("train, val, size"));
        assert!(shown("shapes(#{ train: 3, ").unwrap().starts_with("val, size"));
        assert!(shown("shapes(#{ size: ").unwrap().starts_with("a whole number from 32 to 4096"));
        assert_eq!(shown("1 + 2"), None);
        assert_eq!(shown("load(\"a, "), None);
    }
}
