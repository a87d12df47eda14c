//! Progress on the terminal.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::interrupt::Interrupt;
use crate::progress::Progress;

/// Progress for a person: a bar with the time left on the terminal's error stream, or plain notes when that is no
/// terminal, or nothing when quiet. Stops the work when the user asked for it.
pub struct Bar {
    bars: Mutex<Vec<ProgressBar>>,
    interrupt: Interrupt,
    style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Bar,
    Notes,
    Nothing,
}

impl Bar {
    /// A bar when the error stream is a terminal, notes alone when it isn't.
    pub fn new(interrupt: Interrupt, terminal: bool, quiet: bool) -> Self {
        let style = match (quiet, terminal) {
            (true, _) => Style::Nothing,
            (false, true) => Style::Bar,
            (false, false) => Style::Notes,
        };
        Self { bars: Mutex::default(), interrupt, style }
    }

    fn is_busy(&self) -> bool {
        !self.bars.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_empty()
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bars.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).last() {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total: Option<u64>) {
        if self.style != Style::Bar {
            return;
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{prefix} {bar:24.cyan/dim} {pos}/{len} · {eta} left{stopping} · {wide_msg}",
            None => "{prefix} {spinner} {pos} · {elapsed}{stopping} · {wide_msg}",
        };
        // A key of the template, for it is drawn on every tick: a batch may take a while to end.
        let interrupt = self.interrupt.clone();
        let stopping = move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
            if interrupt.requested() {
                // A write into the line that is drawn cannot fail.
                let _ = text.write_str(" · stopping after this step");
            }
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("stopping", stopping).progress_chars("━╸─"));
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        self.bars.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(bar);
    }

    fn advance(&self, done: u64, message: &str) {
        self.with_bar(|bar| {
            bar.set_position(done);
            bar.set_message(message.to_owned());
        });
    }

    fn note(&self, line: &str) {
        match self.style {
            Style::Bar if self.is_busy() => self.with_bar(|bar| bar.println(line)),
            Style::Bar | Style::Notes => eprintln!("{line}"),
            Style::Nothing => {}
        }
    }

    fn finish(&self) {
        let bar = self.bars.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }

    fn stop_requested(&self) -> bool {
        self.interrupt.requested()
    }
}
