//! What `help` shows.

use super::catalog::{Catalog, Entry, Receiver};
use super::options::{OptionSet, Spec};
use crate::nearest::did_you_mean;
use crate::report::{Cell, Column, Table, View};

/// Why there is no help.
#[derive(Debug, thiserror::Error)]
#[error("nothing is called \"{name}\"{}; help() lists what there is", did_you_mean(name, known.iter().map(String::as_str)))]
pub struct NoHelp {
    name: String,
    known: Vec<String>,
}

/// What there is: functions, then the methods of each object, a line each.
pub fn overview(catalog: &Catalog, view: View) -> String {
    let mut text = String::from(
        "Espalier makes YOLO detectors smaller and faster to train.\n\
         help(\"name\") tells more. Tab completes; a line that ends in `;` shows nothing.\n",
    );
    let own = || catalog.entries.iter().filter(|entry| entry.own && !HIDDEN.contains(&entry.name.as_str()));
    let mut receivers: Vec<Option<&str>> = vec![None];
    for entry in own() {
        let receiver = entry.receiver.as_ref().map(|receiver| receiver.name.as_str());
        if !receivers.contains(&receiver) {
            receivers.push(receiver);
        }
    }
    receivers[1..].sort_unstable();
    let width = usize::from(view.width.unwrap_or(120));
    for receiver in receivers {
        text += &match receiver {
            None => "\nFunctions\n".to_owned(),
            Some(name) => format!("\n{name}\n"),
        };
        let mut last = "";
        for entry in own().filter(|entry| entry.receiver.as_ref().map(|receiver| receiver.name.as_str()) == receiver) {
            if entry.name != last {
                let dot = if receiver.is_some() { "." } else { "" };
                let line = format!("  {:<16} {}", format!("{dot}{}", entry.name), entry.summary().replace('\n', " "));
                text += &shorten(&line, width);
                text.push('\n');
            }
            last = &entry.name;
        }
    }
    text.trim_end().to_owned()
}

/// All about a name: how it is called, what it does, what options it takes. A type's name lists its methods.
pub fn about(name: &str, catalog: &Catalog, options: &[&'static OptionSet], view: View) -> Result<String, NoHelp> {
    let entries: Vec<&Entry> = catalog.named(name).collect();
    let of_type: Vec<&Entry> = catalog
        .entries
        .iter()
        .filter(|entry| entry.receiver.as_ref().is_some_and(|receiver| receiver.name == name))
        .collect();
    if entries.is_empty() && of_type.is_empty() {
        let known = catalog.entries.iter().map(|entry| entry.name.clone()).collect();
        return Err(NoHelp { name: name.into(), known });
    }
    let mut text = String::new();
    let mut receivers: Vec<&Option<Receiver>> = Vec::new();
    for entry in &entries {
        if !receivers.contains(&&entry.receiver) {
            receivers.push(&entry.receiver);
        }
    }
    for receiver in receivers {
        let of_receiver = || entries.iter().filter(|entry| entry.receiver == *receiver);
        let documented = of_receiver().any(|entry| !entry.doc.is_empty());
        if !text.is_empty() {
            text.push('\n');
        }
        for entry in of_receiver().filter(|entry| !documented || !entry.doc.is_empty() || entry.own) {
            text += &format!("{}\n", entry.signature());
        }
        let mut told: Vec<&str> = Vec::new();
        for entry in of_receiver() {
            // The language's own documentation goes on for pages.
            let doc = if entry.own { entry.doc.as_str() } else { entry.doc.split("\n\n").next().unwrap_or_default() };
            if !doc.is_empty() && !told.contains(&doc) {
                text.extend(doc.lines().map(|line| format!("  {line}\n")));
                told.push(doc);
            }
        }
    }
    for entry in of_type.into_iter().filter(|entry| !entry.doc.is_empty()) {
        text += &format!("{:<40} {}\n", entry.signature(), entry.summary().replace('\n', " "));
    }
    let mut shown: Vec<&OptionSet> = Vec::new();
    for set in options.iter().copied().filter(|set| set.call == name) {
        text += &match shown.iter().find(|other| alike(other, set)) {
            Some(other) => same_options(set, other),
            None => format!("\n{}\n", option_table(set).render(view)),
        };
        shown.push(set);
    }
    Ok(text.trim_end().to_owned())
}

/// A call's options as a table.
pub fn option_table(set: &OptionSet) -> Table {
    let columns =
        [Column::from("option"), Column::from("takes"), Column::from("default"), Column::new("doc", "what it does")];
    let mut table = Table::new(format!("options of {}", set.name()), columns);
    for spec in &set.specs {
        let default = spec.default.as_ref().map(|value| Cell::Text(value.to_string()));
        table.push([
            spec.key.into(),
            spec.kind.to_string().into(),
            default.unwrap_or_default(),
            spec.doc.as_str().into(),
        ]);
    }
    table
}

/// Whether two calls take the same keys.
fn alike(a: &OptionSet, b: &OptionSet) -> bool {
    a.specs.iter().map(|spec| spec.key).eq(b.specs.iter().map(|spec| spec.key))
}

/// A line for options that have been shown already, with the defaults that differ.
fn same_options(set: &OptionSet, other: &OptionSet) -> String {
    let default = |spec: &Spec| spec.default.as_ref().map(ToString::to_string);
    let pairs = set.specs.iter().zip(&other.specs).filter(|(own, other)| default(own) != default(other));
    let differ: Vec<String> = pairs.filter_map(|(own, _)| Some(format!("{} = {}", own.key, default(own)?))).collect();
    let but = if differ.is_empty() { String::new() } else { format!(", by default with {}", differ.join(", ")) };
    format!("\n{} takes the same options{but}\n", set.name())
}

/// Registered for the language's sake, of no interest to users.
const HIDDEN: [&str; 2] = ["to_string", "to_debug"];

fn shorten(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
