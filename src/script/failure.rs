//! Errors of a script, and how they are shown.

use std::ops::Range;

use ariadne::{CharSet, Color, Config, IndexType, Label, ReportKind, Source};
use rhai::{Dynamic, EvalAltResult, Position};
use serde_json::{Value, json};

use super::hint::hint;
use super::object::Object;
use crate::options::OptionError;
use crate::report::View;

/// Why an evaluation ended early.
#[derive(Debug)]
pub enum Failure {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The script called `exit`.
    Exit(i32),
    /// Something is wrong, and this says what.
    Error(Box<Report>),
}

/// An error for the user: what, where in which text, and what to do.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What stands beside the caret.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Through which calls one came there, and underlying causes.
    pub notes: Vec<String>,
    /// Where.
    pub place: Option<Place>,
}

/// A place in a text.
#[derive(Clone, Debug)]
pub struct Place {
    /// The text's name.
    pub origin: String,
    /// The text.
    pub text: String,
    /// The bytes that are meant.
    pub range: Range<usize>,
}

impl Report {
    /// The error for the terminal, with the line and a caret where the place is known.
    pub fn render(&self, colours: bool) -> String {
        let Some(place) = &self.place else { return self.plain() };
        let span = (place.origin.clone(), place.range.clone());
        let colour = Color::Red;
        // Without a message ariadne draws no underline.
        let mut label = Label::new(span.clone()).with_message(self.label.as_deref().unwrap_or("here"));
        if colours {
            label = label.with_color(colour);
        }
        let config = Config::default()
            .with_color(colours)
            .with_char_set(CharSet::Unicode)
            .with_index_type(IndexType::Byte)
            .with_tab_width(4);
        let mut report = ariadne::Report::build(ReportKind::Error, span)
            .with_config(config)
            .with_message(&self.message)
            .with_label(label);
        report.with_notes(&self.notes);
        report.with_helps(&self.help);
        let mut bytes = Vec::new();
        let cache = (place.origin.clone(), Source::from(place.text.as_str()));
        match report.finish().write(cache, &mut bytes) {
            Ok(()) => {
                let text = String::from_utf8_lossy(&bytes);
                text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
            }
            Err(_) => self.plain(),
        }
    }

    fn plain(&self) -> String {
        let mut text = format!("Error: {}", self.message);
        for note in &self.notes {
            text += &format!("\n  {note}");
        }
        if let Some(help) = &self.help {
            text += &format!("\n  help: {help}");
        }
        text
    }
}

/// An error of the library as a value of the language: a script may catch it; it shows as its message.
#[derive(Clone, Debug, Default)]
pub struct ErrorValue {
    /// What happened, and the causes that it doesn't already tell.
    pub chain: Vec<String>,
    /// The option it is about, to point at.
    pub option: Option<String>,
    /// What to do about it, in words of the language.
    pub help: Option<String>,
}

/// Turns an error of the library into one of the script language.
pub fn raise<E: std::error::Error + 'static>(error: E) -> Box<EvalAltResult> {
    let (mut option, mut help) = (None, None);
    let mut chain: Vec<String> = Vec::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        help = help.or_else(|| hint(error).map(str::to_owned));
        option = option.or_else(|| error.downcast_ref::<OptionError>().map(|error| error.key().to_owned()));
        let text = error.to_string();
        if !chain.iter().any(|known| known.contains(&text)) {
            chain.push(text);
        }
        cause = error.source();
    }
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(ErrorValue { chain, option, help }), Position::NONE))
}

/// An error of the bindings themselves.
pub fn raise_text(message: impl Into<String>) -> Box<EvalAltResult> {
    let value = ErrorValue { chain: vec![message.into()], ..ErrorValue::default() };
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(value), Position::NONE))
}

impl std::fmt::Display for ErrorValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}

impl Object for ErrorValue {
    const NAME: &'static str = "Error";

    fn show(&self, _view: View) -> String {
        self.to_string()
    }

    fn json(&self) -> Value {
        json!({ "error": self.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open net.pt")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("not a zip")]
    struct Inner;

    #[test]
    fn a_chain_of_causes_is_told_once() {
        let EvalAltResult::ErrorRuntime(value, _) = *raise(Outer(Inner)) else { panic!() };
        assert_eq!(value.cast::<ErrorValue>().to_string(), "cannot open net.pt: not a zip");
    }

    #[test]
    fn the_caret_is_under_the_place() {
        let text = "let a = 1;\nlaod(a)";
        let place = Place { origin: "x.rhai".into(), text: text.into(), range: 11..15 };
        let report =
            Report { message: "no".into(), label: Some("here".into()), place: Some(place), ..Report::default() };
        let shown = report.render(false);
        assert!(shown.contains("x.rhai:2:1") && shown.contains("2 │ laod(a)"), "{shown}");
        assert!(shown.contains("──┬─") && shown.contains("here"), "{shown}");
    }
}
