//! The prompt: a line editor around a session.

mod commands;
mod complete;
mod helper;
mod highlight;
mod hint;
mod infer;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use etcetera::{BaseStrategy, choose_base_strategy};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::script::{Failure, Session};
use commands::{Command, Transcript};
use helper::Assistant;

/// How the prompt looks and speaks.
#[derive(Clone, Copy, Debug)]
pub struct Appearance {
    /// Colours in what is typed and in errors.
    pub colours: bool,
    /// Whether to say what this is first.
    pub greeting: bool,
}

/// Why the prompt cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The terminal failed.
    #[error("the terminal failed: {0}")]
    Terminal(#[from] ReadlineError),
}

/// Reads, evaluates and shows lines until the user leaves; gives the exit code.
pub fn run(session: Session, appearance: Appearance) -> Result<u8, Error> {
    let session = Rc::new(RefCell::new(session));
    let config = Config::builder()
        .max_history_size(10_000)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .build();
    let mut editor: Editor<Assistant, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant::new(session.clone(), appearance.colours)));
    let history = history_file();
    match &history {
        Ok(path) if path.exists() => {
            if let Err(error) = editor.load_history(path) {
                eprintln!("the history in {} cannot be read: {error}", path.display());
            }
        }
        Ok(_) => {}
        Err(why) => eprintln!("the history will not be kept: {why}"),
    }
    if appearance.greeting {
        println!("Espalier {} · help() tells what there is, Ctrl-D leaves", env!("CARGO_PKG_VERSION"));
    }
    let mut transcript = Transcript::default();
    loop {
        let line = match editor.readline("espalier> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        if line.trim().is_empty() {
            continue;
        }
        editor.add_history_entry(&line)?;
        // At once, so that a killed process loses nothing.
        if let Ok(path) = &history
            && let Err(error) = editor.append_history(path)
        {
            eprintln!("the history in {} cannot be written: {error}", path.display());
        }
        let past = || editor.history().iter().cloned().collect();
        match Command::parse(&line).run(&mut session.borrow_mut(), &mut transcript, past) {
            Ok(()) => {}
            Err(Failure::Exit(code)) => return Ok(u8::try_from(code).unwrap_or(1)),
            Err(Failure::Interrupted) => eprintln!("interrupted; the session is still here"),
            Err(Failure::Error(report)) => eprintln!("{}", report.render(appearance.colours)),
        }
    }
}

/// The file in which the history is kept, its folder made.
fn history_file() -> Result<PathBuf, String> {
    let strategy = choose_base_strategy().map_err(|error| error.to_string())?;
    let folder = strategy.data_dir().join("espalier");
    std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Ok(folder.join("history"))
}
