//! How long work reports where it is, and learns that it should stop.

/// A listener of long work. The core calls it; what the user sees is the listener's business. By default it ignores what
/// it hears, and never stops the work.
pub trait Progress: Send + Sync {
    /// Work named `what` begins, with `total` steps where that is known.
    fn start(&self, what: &str, total: Option<u64>) {
        let _ = (what, total);
    }
    /// `done` steps are finished; `message` says what matters now (losses, images a second).
    fn advance(&self, done: u64, message: &str) {
        let _ = (done, message);
    }
    /// A line worth keeping, such as an epoch's validation row.
    fn note(&self, line: &str) {
        let _ = line;
    }
    /// The work begun last has ended.
    fn finish(&self) {}
    /// Whether the user asked to stop. Long work asks after every batch and returns what it has.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Listens to nothing and never stops the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
