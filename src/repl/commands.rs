//! What a line at the prompt asks for: code or one of the commands.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::io::{IoError, atomic_write};
use crate::nearest::did_you_mean;
use crate::report::{Cell, Table};
use crate::script::scan;
use crate::script::{Failure, Report, Session};

/// What a line at the prompt asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Evaluates a text.
    Evaluate(String),
    /// Tells what there is, or all about a name.
    Help(Option<String>),
    /// Lists the variables.
    Variables,
    /// Evaluates a text and tells how long it took.
    Time(String),
    /// Evaluates a file.
    Run(PathBuf),
    /// Saves the session as a script.
    Save(PathBuf),
    /// Lists what was typed.
    History,
    /// Leaves.
    Quit,
    /// A command that lacks its argument, or that there isn't: what to say.
    Wrong(String),
}

/// The commands, their argument, and what they do.
pub const COMMANDS: [(&str, &str, &str); 7] = [
    (":help", "[NAME]", "what there is, or all about a name"),
    (":vars", "", "the variables"),
    (":time", "EXPRESSION", "evaluates and tells how long it took"),
    (":run", "FILE", "evaluates a script file in this session"),
    (":save", "FILE", "saves this session as a script"),
    (":history", "", "what was typed"),
    (":quit", "", "leaves, as Ctrl-D does"),
];

/// What was evaluated without an error, as it would stand in a script.
#[derive(Debug, Default)]
pub struct Transcript(Vec<String>);

impl Command {
    /// Reads a line.
    pub fn parse(line: &str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()));
        let argument = |make: &dyn Fn(&str) -> Self, usage: &str| match rest {
            "" => Self::Wrong(format!("{word} needs {usage}")),
            rest => make(rest),
        };
        let file = |rest: &str| PathBuf::from(rest.trim_matches('"'));
        match word {
            "help" | ":help" | "?" => Self::Help((!rest.is_empty()).then(|| rest.trim_matches('"').to_owned())),
            ":vars" => Self::Variables,
            ":time" => argument(&|rest| Self::Time(rest.into()), "an expression"),
            ":run" => argument(&|rest| Self::Run(file(rest)), "a file"),
            ":save" => argument(&|rest| Self::Save(file(rest)), "a file"),
            ":history" => Self::History,
            ":quit" | ":q" => Self::Quit,
            "quit" | "exit" if rest.is_empty() => Self::Quit,
            _ if word.starts_with(':') => {
                let names = COMMANDS.map(|(name, _, _)| name);
                Self::Wrong(format!(
                    "there is no command {word}{}; there are {}",
                    did_you_mean(word, names),
                    names.join(", ")
                ))
            }
            _ => Self::Evaluate(line.into()),
        }
    }

    /// Does what was asked.
    pub fn run(
        self,
        session: &mut Session,
        transcript: &mut Transcript,
        history: impl FnOnce() -> Vec<String>,
    ) -> Result<(), Failure> {
        match self {
            Self::Evaluate(text) => evaluate(session, transcript, &text),
            Self::Time(text) => {
                let start = Instant::now();
                let result = evaluate(session, transcript, &text);
                eprintln!("{}", Cell::Seconds(start.elapsed().as_secs_f64()).human());
                result
            }
            Self::Help(None) => {
                evaluate_only(session, "help()")?;
                show(session, &format!("\nAt the prompt\n{}", command_lines()))
            }
            Self::Help(Some(name)) => evaluate_only(session, &format!("help({name:?})")),
            Self::Variables => {
                let table = variables(session);
                show(session, &table.render(session.output().view()))
            }
            Self::Run(path) => {
                session.run_file(&path)?;
                transcript.file(&path);
                Ok(())
            }
            Self::Save(path) => {
                transcript.save(&path).map_err(|error| failure(error.to_string()))?;
                show(session, &format!("saved {} lines to {}", transcript.0.len(), path.display()))
            }
            Self::History => show(session, &history().join("\n")),
            Self::Quit => Err(Failure::Exit(0)),
            Self::Wrong(message) => Err(failure(message)),
        }
    }
}

fn evaluate(session: &mut Session, transcript: &mut Transcript, text: &str) -> Result<(), Failure> {
    let value = session.evaluate("prompt", text)?;
    transcript.add(text, !value.is_unit());
    session.show(&value)
}

fn evaluate_only(session: &mut Session, text: &str) -> Result<(), Failure> {
    session.evaluate_and_show("prompt", text)
}

fn show(session: &Session, text: &str) -> Result<(), Failure> {
    session.output().line(text).map_err(|error| failure(format!("cannot write: {error}")))
}

fn failure(message: String) -> Failure {
    Failure::Error(Box::new(Report { message, ..Report::default() }))
}

fn command_lines() -> String {
    let line = |(name, argument, what): &(&str, &str, &str)| format!("  {:<18} {what}", format!("{name} {argument}"));
    COMMANDS.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn variables(session: &Session) -> Table {
    let mut table = Table::new("", ["variable", "type", "value"]);
    for (name, kind, value) in session.variables() {
        table.push([name.into(), kind.into(), value.into()]);
    }
    table
}

impl Transcript {
    /// Remembers a text; a value that was shown is printed by the script too.
    pub fn add(&mut self, text: &str, shown: bool) {
        let text = text.trim();
        let first = scan::tokens(text).into_iter().find(|token| token.kind != scan::TokenKind::Comment);
        let keyword = first.is_some_and(|token| scan::KEYWORDS.contains(&&text[token.range]));
        let several = scan::tokens(text).iter().any(|token| &text[token.range.clone()] == ";");
        self.0.push(match () {
            () if shown && !keyword && !several => format!("print({text});"),
            () if scan::ends_in_semicolon(text) || text.ends_with('}') => text.to_owned(),
            () => format!("{text};"),
        });
    }

    fn file(&mut self, path: &Path) {
        if let Ok(text) = std::fs::read_to_string(path) {
            self.0.push(format!("// {}\n{}", path.display(), text.trim_end()));
        }
    }

    /// Writes it all to a file, whole or not at all.
    fn save(&self, path: &Path) -> Result<(), IoError> {
        atomic_write(path, |file| self.0.iter().try_for_each(|text| writeln!(file, "{text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_from_commands() {
        assert_eq!(Command::parse(" let a = 1 "), Command::Evaluate("let a = 1".into()));
        assert_eq!(Command::parse("help"), Command::Help(None));
        assert_eq!(Command::parse("help \"fit\""), Command::Help(Some("fit".into())));
        assert_eq!(Command::parse("help(\"fit\")"), Command::Evaluate("help(\"fit\")".into()));
        assert_eq!(Command::parse(":time 1 + 1"), Command::Time("1 + 1".into()));
        assert_eq!(Command::parse(":run a b.rhai"), Command::Run("a b.rhai".into()));
        assert_eq!(Command::parse("exit"), Command::Quit);
        assert!(matches!(Command::parse(":tim 3"), Command::Wrong(text) if text.contains("did you mean \":time\"?")));
        assert!(matches!(Command::parse(":save"), Command::Wrong(text) if text.contains("a file")));
    }

    #[test]
    fn a_transcript_is_a_script_that_shows_the_same() {
        let mut transcript = Transcript::default();
        transcript.add("let a = 1", true);
        transcript.add("a + 1", true);
        transcript.add("a += 1", false);
        transcript.add("fn f(x) {\n  x\n}", false);
        transcript.add("f(a);", false);
        assert_eq!(transcript.0, ["let a = 1;", "print(a + 1);", "a += 1;", "fn f(x) {\n  x\n}", "f(a);"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.rhai");
        transcript.save(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().next(), Some("let a = 1;"));
        assert!(transcript.save(&path.join("s.rhai")).is_err());
    }
}
