//! From an error of the language to a message for the user: where it is, what was meant, what to do.

use rhai::{EvalAltResult, LexError, ParseErrorType, Position};

use super::catalog::{Catalog, Entry, EntryKind};
use super::document::Document;
use super::failure::{ErrorValue, Failure, Place, Report};
use super::object::short_text;
use crate::nearest::nearest;

/// What names there are, to suggest from.
pub struct Names<'a> {
    /// What can be called.
    pub catalog: &'a Catalog,
    /// The session's variables.
    pub variables: Vec<String>,
    /// The script's own functions.
    pub functions: Vec<String>,
}

/// Explains an error, with the text it came from.
pub fn explain(error: &EvalAltResult, document: &Document, names: &Names) -> Failure {
    let mut report = Report::default();
    let mut error = error;
    // The module in which it happened, when it wasn't in the session's own text.
    let mut module: Option<&str> = None;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(name, source, inner, position) => {
                let line = document
                    .locate(*position)
                    .map(|(piece, at)| format!(" (line {} of {})", piece.line(at), piece.origin));
                let name = if name.starts_with("anon$") { "a closure".to_owned() } else { format!("`{name}`") };
                report.notes.push(format!("in {name}, called here{}", line.unwrap_or_default()));
                module = Some(source.as_str()).filter(|source| !source.is_empty());
                error = inner;
            }
            EvalAltResult::ErrorInModule(name, inner, _) => {
                report.notes.push(format!("in module \"{name}\""));
                module = Some(name);
                error = inner;
            }
            EvalAltResult::ErrorTerminated(..) => return Failure::Interrupted,
            _ => break,
        }
    }
    let (message, label, help) = words(error, names);
    (report.message, report.label, report.help) = (message, label, help);
    let mut option = None;
    if let EvalAltResult::ErrorRuntime(value, _) = error
        && let Some(error) = value.read_lock::<ErrorValue>()
    {
        report.notes.splice(0..0, error.chain.iter().skip(1).map(|cause| format!("because {cause}")));
        option.clone_from(&error.option);
        report.help.clone_from(&error.help);
    }
    report.place = match module {
        Some(name) => document.in_module(name, error.position()),
        None => place(error.position(), option.as_deref(), document),
    };
    Failure::Error(Box::new(report))
}

fn place(position: Position, option: Option<&str>, document: &Document) -> Option<Place> {
    let (piece, at) = match position.is_none() {
        true => document.last().map(|piece| (piece, piece.text.trim_end().len()))?,
        false => document.locate(position)?,
    };
    let range = option.and_then(|key| piece.key(key, at)).unwrap_or_else(|| piece.token(at));
    Some(Place { origin: piece.origin.clone(), text: piece.text.clone(), range })
}

/// The message, the caret's label, and help.
fn words(error: &EvalAltResult, names: &Names) -> (String, Option<String>, Option<String>) {
    match error {
        EvalAltResult::ErrorParsing(kind, _) => parsing(kind, names),
        EvalAltResult::ErrorVariableNotFound(name, _) => unknown_variable(name, names),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => unknown_function(signature, names),
        EvalAltResult::ErrorDotExpr(text, _) => unknown_property(text, names),
        EvalAltResult::ErrorPropertyNotFound(name, _) => {
            (format!("the map has no property `{name}`"), Some("not in the map".into()), None)
        }
        EvalAltResult::ErrorRuntime(value, _) => {
            let message = match value.read_lock::<ErrorValue>() {
                Some(error) => error.chain.first().cloned().unwrap_or_default(),
                None => match value.clone().into_string() {
                    Ok(text) => text,
                    Err(_) => format!("the script threw {}", short_text(value)),
                },
            };
            (message, None, None)
        }
        other => {
            let text = other.to_string();
            let position = format!(" ({})", other.position());
            (decapitalise(text.strip_suffix(&position).unwrap_or(&text)), None, None)
        }
    }
}

fn parsing(kind: &ParseErrorType, names: &Names) -> (String, Option<String>, Option<String>) {
    match kind {
        ParseErrorType::VariableUndefined(name) => unknown_variable(name, names),
        ParseErrorType::UnexpectedEOF => {
            ("the text ends too early".into(), Some("more was expected here".into()), None)
        }
        ParseErrorType::BadInput(LexError::UnterminatedString) => {
            ("syntax error: this string has no closing quote".into(), Some("opened here".into()), None)
        }
        ParseErrorType::MissingToken(token, what) => (
            format!("syntax error: expected `{token}` {what}"),
            Some(format!("`{token}` is missing before this")),
            None,
        ),
        other => (format!("syntax error: {}", decapitalise(&other.to_string())), None, None),
    }
}

fn unknown_variable(name: &str, names: &Names) -> (String, Option<String>, Option<String>) {
    let help = if names.variables.iter().any(|known| known == name) {
        Some(format!("functions don't see the variables outside them: pass `{name}` as an argument"))
    } else if names.functions.iter().any(|known| known == name) || names.catalog.named(name).next().is_some() {
        Some(format!("`{name}` is a function: call it as `{name}(…)`"))
    } else {
        None
    };
    let like = nearest(name, names.variables.iter().map(String::as_str));
    (format!("there is no variable `{name}`"), like.map(|like| format!("did you mean `{like}`?")), help)
}

fn unknown_function(signature: &str, names: &Names) -> (String, Option<String>, Option<String>) {
    let (name, types) =
        signature.split_once(" (").map_or((signature, ""), |(name, types)| (name, types.trim_end_matches(')')));
    let types: Vec<String> = types.split(", ").filter(|kind| !kind.is_empty()).map(plain_type).collect();
    if let Some(property) = name.strip_prefix("get$").or_else(|| name.strip_prefix("set$")) {
        return no_property(property, types.first().map_or("value", String::as_str), names);
    }
    let called = format!("({})", types.join(", "));
    if types.iter().any(|kind| kind == ONNX)
        && names.catalog.named(name).next().is_some()
        && !has_member(names, ONNX, name)
        && name != "compare"
    {
        return not_with_onnx(name);
    }
    let known: Vec<String> = names.catalog.named(name).map(Entry::signature).collect();
    if !known.is_empty() {
        let message = format!("`{name}` cannot be called with {called}");
        return (message, None, Some(format!("it is {}", known.join(", or "))));
    }
    if names.functions.iter().any(|known| known == name) {
        return (format!("`{name}` doesn't take {} arguments", types.len()), None, None);
    }
    if !rhai::is_valid_identifier(name) {
        return (format!("`{name}` doesn't work on {called}"), None, None);
    }
    let methods = names.catalog.entries.iter().filter(|entry| {
        entry.receiver.as_ref().is_some_and(|receiver| types.first().is_some_and(|kind| *kind == receiver.name))
    });
    let like = nearest(name, methods.map(|entry| entry.name.as_str())).or_else(|| {
        let functions = names.catalog.entries.iter().filter(|entry| entry.kind == EntryKind::Function);
        nearest(name, functions.map(|entry| entry.name.as_str()).chain(names.functions.iter().map(String::as_str)))
    });
    let label = like.map(|like| format!("did you mean `{like}`?"));
    // Before anything runs the types are not known.
    let called = if types.iter().all(|kind| kind == "_") { String::new() } else { format!(" for {called}") };
    (format!("there is no function `{name}`{called}"), label, None)
}

/// `Unknown property 'x' - a getter is not registered for type 'T'` is all that the language tells.
fn unknown_property(text: &str, names: &Names) -> (String, Option<String>, Option<String>) {
    let quoted: Vec<&str> = text.split('\'').collect();
    match quoted.as_slice() {
        [_, property, _, kind, ..] if text.starts_with("Unknown property") => {
            no_property(property, &plain_type(kind), names)
        }
        _ => (decapitalise(text), None, None),
    }
}

/// The type of an opened ONNX file.
const ONNX: &str = "OnnxModel";

fn has_member(names: &Names, receiver: &str, name: &str) -> bool {
    names.catalog.named(name).any(|entry| entry.receiver.as_ref().is_some_and(|own| own.name == receiver))
}

fn not_with_onnx(name: &str) -> (String, Option<String>, Option<String>) {
    let message =
        format!("`{name}` needs a Model; an ONNX file is run by another engine as it is, and cannot be changed");
    let help = "load the .pt or .safetensors that it was exported from; with the ONNX file itself evaluate, predict, bench and \
                compare can be done";
    (message, Some("this is an OnnxModel".into()), Some(help.into()))
}

fn no_property(property: &str, kind: &str, names: &Names) -> (String, Option<String>, Option<String>) {
    if kind == ONNX && has_member(names, "Model", property) && !has_member(names, ONNX, property) {
        return not_with_onnx(property);
    }
    let entries = || {
        names
            .catalog
            .entries
            .iter()
            .filter(|entry| entry.receiver.as_ref().is_some_and(|receiver| receiver.name == kind))
    };
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'E', 'A']) { "an" } else { "a" };
    let message = format!("{article} {kind} has no property `{property}`");
    if let Some(method) = entries().find(|entry| entry.name == property && entry.kind == EntryKind::Method) {
        return (
            message,
            Some(format!("did you mean `{property}(…)`?")),
            Some(format!("it is {}", method.signature())),
        );
    }
    let like = nearest(property, entries().map(|entry| entry.name.as_str()));
    let label = like.map(|like| format!("did you mean `{like}`?"));
    let properties: Vec<&str> =
        entries().filter(|entry| entry.kind == EntryKind::Property).map(|entry| entry.name.as_str()).collect();
    let help = (!properties.is_empty()).then(|| format!("its properties are {}", properties.join(", ")));
    (message, label, help)
}

fn plain_type(kind: &str) -> String {
    match kind.rsplit("::").next().unwrap_or(kind).trim() {
        "i64" => "int".into(),
        "f64" => "float".into(),
        "&str | ImmutableString | String" | "ImmutableString" | "String" | "str" => "string".into(),
        other => other.to_owned(),
    }
}

fn decapitalise(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.into(),
    }
}
