//! The command line: to prompt, file, or code; exit code.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;

use crate::repl::{self, Appearance};
use crate::script::{self, Bar, Failure, Interrupt, Output, Session, Settings};

/// Makes YOLO detectors smaller and faster to train: prune, distil and measure them at a prompt or by script.
///
/// Without FILE or CODE this is a prompt, or, when the input is no terminal, a script from there.
#[derive(Parser)]
#[command(name = "espalier", version)]
struct Arguments {
    /// A script to run; `-` reads it from the standard input.
    file: Option<PathBuf>,
    /// The script's arguments, `args` in the script.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
    /// Runs this code instead of a file.
    #[arg(short, long, value_name = "CODE", allow_hyphen_values = true)]
    code: Option<String>,
    /// Opens the prompt afterwards.
    #[arg(short, long)]
    interactive: bool,
    /// Shows values as lines of JSON.
    #[arg(long)]
    json: bool,
    /// The device for models: cpu, cuda, cuda:1, metal.
    #[arg(long, default_value = "cpu", value_parser = device)]
    device: script::Device,
    /// How many threads compute [default: one for each core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// The seed of whatever is random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Shows no progress.
    #[arg(short, long)]
    quiet: bool,
}

fn device(name: &str) -> Result<script::Device, String> {
    script::parse_device(name).map_err(|error| error.to_string())
}

/// A script error.
const SCRIPT_ERROR: u8 = 1;
/// Interrupted by the user.
const INTERRUPTED: u8 = 130;

/// Runs the program with the arguments of a command line, its own name first; values are shown on `out`, what is wrong on
/// the error stream. Gives the exit code; arguments that are wrong end the process with 2.
pub fn main(arguments: impl IntoIterator<Item = OsString>, out: impl Write + Send + 'static) -> u8 {
    espalier_kernels::allocator::keep_freed_memory();
    script::quiet_panics();
    let mut arguments = Arguments::parse_from(arguments);
    if arguments.code.is_some() {
        // With code there is no file: what stands in its place is the first argument.
        let first = arguments.file.take().map(|file| file.to_string_lossy().into_owned());
        arguments.args.splice(0..0, first);
    }
    run(arguments, out).unwrap_or_else(|error| {
        eprintln!("Error: {error:#}");
        SCRIPT_ERROR
    })
}

fn run(arguments: Arguments, out: impl Write + Send + 'static) -> Result<u8> {
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global().context("cannot set the threads")?;
    }
    let piped = !io::stdin().is_terminal();
    let has_script = arguments.code.is_some() || arguments.file.is_some() || piped;
    let prompt = !has_script || arguments.interactive;
    let interrupt = Interrupt::default();
    interrupt.listen(!prompt).context("cannot listen for Ctrl-C")?;
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let terminal = io::stdout().is_terminal();
    let output = Output::new(out, arguments.json, terminal, terminal && colour);
    let error_colours = io::stderr().is_terminal() && colour;
    let mut session = Session::new(Settings {
        progress: Arc::new(Bar::new(interrupt.clone(), io::stderr().is_terminal(), arguments.quiet)),
        interrupt: interrupt.clone(),
        output,
        device: arguments.device,
        seed: arguments.seed,
        arguments: arguments.args,
    });
    let result = match (&arguments.code, &arguments.file) {
        (Some(code), _) => session.evaluate_and_show("-c", code),
        (None, Some(file)) if file.as_os_str() != "-" => session.run_file(file),
        (None, None) if !piped => Ok(()),
        (None, _) => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("cannot read the script from the standard input")?;
            session.evaluate_and_show("standard input", &text)
        }
    };
    let code = match result {
        // Work that was stopped gives what it has, and the script may end with that.
        Ok(()) if !interrupt.requested() => 0,
        Err(Failure::Exit(code)) => return Ok(u8::try_from(code).unwrap_or(SCRIPT_ERROR)),
        Ok(()) | Err(Failure::Interrupted) => {
            eprintln!("interrupted");
            INTERRUPTED
        }
        Err(Failure::Error(report)) => {
            eprintln!("{}", report.render(error_colours));
            SCRIPT_ERROR
        }
    };
    if !prompt {
        return Ok(code);
    }
    let appearance = Appearance { colours: terminal && colour, greeting: !has_script && !arguments.quiet };
    Ok(repl::run(session, appearance)?)
}
