//! What the line editor asks while a line is typed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::commands::Command;
use super::complete::{Candidate, complete};
use super::highlight::highlight;
use super::hint::{Hint, hint};
use crate::script::{Session, Syntax};

/// What the line editor asks while a line is typed.
pub struct Assistant {
    session: Rc<RefCell<Session>>,
    colours: bool,
}

impl Assistant {
    /// An assistant that knows a session.
    pub fn new(session: Rc<RefCell<Session>>, colours: bool) -> Self {
        Self { session, colours }
    }
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Candidate;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Candidate>)> {
        Ok(complete(&self.session.borrow(), line, pos))
    }
}

impl Hinter for Assistant {
    type Hint = Hint;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<Hint> {
        if pos < line.len() || line.trim().len() < 3 || line.starts_with(':') {
            return None;
        }
        let signature = hint(&self.session.borrow(), line);
        signature.or_else(|| {
            let rest = HistoryHinter::new().hint(line, pos, context).filter(|rest| !rest.contains('\n'))?;
            Some(Hint { display: rest.clone(), insert: Some(rest) })
        })
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.colours {
            return line.into();
        }
        let session = self.session.borrow();
        let functions = session.functions();
        highlight(line, |name| {
            session.catalog().named(name).next().is_some() || functions.iter().any(|known| known == name)
        })
        .into()
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.colours { format!("\x1b[1;32m{prompt}\x1b[0m").into() } else { prompt.into() }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.colours { format!("\x1b[2m{hint}\x1b[0m").into() } else { hint.into() }
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.colours
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        // An empty last line says: take it as it is.
        if text.ends_with("\n\n") || text.trim().is_empty() {
            return Ok(ValidationResult::Valid(None));
        }
        let code = match Command::parse(text) {
            Command::Evaluate(code) | Command::Time(code) => code,
            _ => return Ok(ValidationResult::Valid(None)),
        };
        Ok(match self.session.borrow().syntax(&code) {
            Syntax::Incomplete => ValidationResult::Incomplete,
            // A wrong text is accepted too: evaluating it is what tells the error.
            Syntax::Complete | Syntax::Wrong => ValidationResult::Valid(None),
        })
    }
}
