//! Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether the user pressed Ctrl-C. The first press asks the work to stop after its current step and the script after its
/// current statement; the session stays.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    presses: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens for Ctrl-C and for the termination signals, from now on and in the whole process. When `leave` is set
    /// (a script, not the prompt) a second press leaves at once with code 130.
    pub fn listen(&self, leave: bool) -> Result<(), ctrlc::Error> {
        let interrupt = self.clone();
        ctrlc::set_handler(move || {
            interrupt.request();
            let presses = interrupt.presses.fetch_add(1, Ordering::SeqCst) + 1;
            if leave && presses > 1 {
                std::process::exit(130);
            }
        })
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Forgets the request, before something new begins.
    pub fn clear(&self) {
        self.requested.store(false, Ordering::SeqCst);
        self.presses.store(0, Ordering::SeqCst);
    }
}
