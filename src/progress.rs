//! How long work reports where it is, and learns that it should stop.

/// A listener of long work. The core calls it; what the user sees is the listener's business.
pub trait Progress: Send + Sync {
    /// Work named `what` begins, with `total` steps where that is known.
    fn start(&self, what: &str, total: Option<u64>);
    /// `done` steps are finished; `message` says what matters now (losses, images a second).
    fn advance(&self, done: u64, message: &str);
    /// A line worth keeping, such as an epoch's validation row.
    fn note(&self, line: &str);
    /// The work begun last has ended.
    fn finish(&self);
    /// Whether the user asked to stop. Long work asks after every batch and returns what it has.
    fn stop_requested(&self) -> bool;
}

/// Listens to nothing and never stops the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64, _message: &str) {}
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
    fn stop_requested(&self) -> bool {
        false
    }
}
