//! What can be called, by the metadata of the bindings.

use std::any::TypeId;

use rhai::{Dynamic, Engine, FuncInfo};

use super::object::Objects;

/// Everything that can be called, by the metadata of the bindings: completion, hints and `help` read it.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Our functions, methods and properties, then those of the language.
    pub entries: Vec<Entry>,
}

/// A function, method or property.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// How it is used.
    pub kind: EntryKind,
    /// Whose method or property it is.
    pub receiver: Option<Receiver>,
    /// Parameter names and types, the receiver left out.
    pub params: Vec<(String, String)>,
    /// The type of its result; empty when there is none.
    pub returns: String,
    /// Its documentation.
    pub doc: String,
    /// Whether it is Espalier's own, not the language's.
    pub own: bool,
}

/// The type that a method belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its Rust type.
    pub id: TypeId,
    /// Its name in scripts.
    pub name: String,
}

/// How an entry is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `name(…)`.
    Function,
    /// `value.name(…)`.
    Method,
    /// `value.name`.
    Property,
}

impl Catalog {
    /// Reads the metadata of all that is registered with an engine.
    pub fn of(engine: &Engine, objects: &Objects) -> Self {
        let hashes = engine.collect_fn_metadata(None, |info| Some(info.metadata.hash), false);
        let read = |own: bool, wanted: bool| {
            let hashes = &hashes;
            move |info: FuncInfo| {
                let ours = hashes.contains(&info.metadata.hash);
                (ours == wanted).then(|| entry(&info, engine, objects, own)).flatten()
            }
        };
        // Documented overloads first, those that take more before those that take less.
        let rank = |entry: &Entry| {
            let receiver = entry.receiver.as_ref().map(|receiver| receiver.name.clone());
            (entry.name.clone(), entry.doc.is_empty(), usize::MAX - entry.params.len(), receiver)
        };
        let mut entries = engine.collect_fn_metadata(None, read(true, true), false);
        entries.sort_by_key(rank);
        let mut language = engine.collect_fn_metadata(None, read(false, false), true);
        language.sort_by_key(rank);
        entries.extend(language);
        Self { entries }
    }

    /// All entries of this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.name == name)
    }

    /// Methods and properties of a type; those that every value has count only for the language's own types.
    pub fn of_type(&self, id: TypeId) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.receiver.as_ref().is_some_and(|receiver| receiver.id == id))
    }

    /// The type of what a function (`receiver` `None`), method or property gives, by its script name: the usual one, where it
    /// gives one or another.
    pub fn returns(&self, receiver: Option<TypeId>, name: &str) -> Option<&str> {
        let fits = |entry: &&Entry| entry.receiver.as_ref().map(|receiver| receiver.id) == receiver;
        self.entries
            .iter()
            .filter(|entry| entry.name == name)
            .find(fits)
            .and_then(|entry| entry.returns.split(" or ").next())
    }
}

impl Entry {
    /// How it is written: `net.evaluate(data: Dataset, options: Map) -> Metrics`.
    pub fn signature(&self) -> String {
        let receiver = self.receiver.as_ref().map(|receiver| format!("{}.", receiver.name)).unwrap_or_default();
        let params: Vec<String> = self
            .params
            .iter()
            .map(|(name, kind)| if kind.is_empty() { name.clone() } else { format!("{name}: {kind}") })
            .collect();
        let params = if self.kind == EntryKind::Property { String::new() } else { format!("({})", params.join(", ")) };
        let returns = if self.returns.is_empty() { String::new() } else { format!(" -> {}", self.returns) };
        format!("{receiver}{}{params}{returns}", self.name)
    }

    /// The first sentence of its documentation.
    pub fn summary(&self) -> &str {
        let paragraph = self.doc.split("\n\n").next().unwrap_or_default();
        paragraph.split_once(". ").map_or(paragraph.trim_end_matches('.'), |(first, _)| first)
    }
}

fn entry(info: &FuncInfo, engine: &Engine, objects: &Objects, own: bool) -> Option<Entry> {
    let metadata = info.metadata;
    let (name, property) = match metadata.name.strip_prefix("get$") {
        Some(name) => (name, true),
        None => (metadata.name.as_str(), false),
    };
    if !rhai::is_valid_identifier(name) {
        return None;
    }
    let typed = |param: &str| -> (String, String) {
        let (name, kind) = param.split_once(':').unwrap_or((param, ""));
        (name.trim().to_owned(), script_type(kind, engine))
    };
    let mut params: Vec<(String, String)> = metadata.params_info.iter().map(|param| typed(param)).collect();
    let by_reference = metadata.params_info.first().is_some_and(|param| param.contains("&mut"));
    let receiver = match metadata.param_types.first() {
        Some(&id) if by_reference || property => {
            let name =
                objects.name(id).map_or_else(|| params.first().map_or("", |param| &param.1).to_owned(), str::to_owned);
            Some(Receiver { id, name })
        }
        // The language's own string and array methods take their receiver by value.
        Some(&id) if !own && id != TypeId::of::<Dynamic>() && params.len() == metadata.num_params => {
            Some(Receiver { id, name: params.first().map_or_else(String::new, |param| param.1.clone()) })
        }
        _ => None,
    };
    if receiver.is_some() && !params.is_empty() {
        params.remove(0);
    }
    let kind = match (&receiver, property) {
        (_, true) => EntryKind::Property,
        (Some(_), false) => EntryKind::Method,
        (None, false) => EntryKind::Function,
    };
    let doc = info.metadata.comments.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n");
    let returns = script_type(&metadata.return_type, engine);
    Some(Entry { name: name.into(), kind, receiver, params, returns, doc: doc.trim().into(), own })
}

/// A doc comment without its slashes.
fn clean(comment: &str) -> String {
    let lines = comment.lines().map(|line| line.trim().trim_start_matches("///").trim_start_matches("/**").trim());
    lines.map(|line| line.trim_end_matches("*/")).collect::<Vec<_>>().join("\n")
}

/// A Rust type as scripts know it: `Result<Table, …>` is `Table`, `i64` is `int`, and so on.
fn script_type(rust: &str, engine: &Engine) -> String {
    let plain: String = rust.trim().trim_start_matches("&mut ").split_whitespace().collect();
    let plain = ["ScriptResult<", "RhaiResultOf<", "Result<"]
        .iter()
        .find_map(|prefix| plain.strip_prefix(prefix))
        .map_or(plain.as_str(), |inner| {
            let mut depth = 0usize;
            let end = inner.char_indices().find(|&(_, c)| {
                match c {
                    '<' => depth += 1,
                    '>' if depth > 0 => depth -= 1,
                    ',' | '>' if depth == 0 => return true,
                    _ => {}
                }
                false
            });
            end.map_or(inner, |(at, _)| &inner[..at])
        });
    let name = plain.rsplit("::").next().unwrap_or(plain);
    match name {
        "" | "()" => "",
        "i64" | "INT" => "int",
        "f64" | "FLOAT" => "float",
        "ImmutableString" | "String" | "&str" | "str" => "string",
        "Array" => "array",
        "Map" => "map",
        "FnPtr" => "function",
        "Dynamic" | "RhaiResult" => "any",
        "ModelOrOnnxModel" => "Model or OnnxModel",
        "NativeCallContext" => "",
        other => return engine.map_type_name(other).to_owned(),
    }
    .to_owned()
}
