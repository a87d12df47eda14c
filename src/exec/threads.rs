//! The thread pool, awake while a graph runs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Runs something of many short parallel pieces on one of the pool's own threads, and keeps the others awake until it is
/// done: the system takes longer to wake a thread than many a piece takes.
pub(super) fn on_the_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let (driver, done) = (rayon::current_thread_index(), &done);
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(move |_| {
                if rayon::current_thread_index() != driver {
                    work_until(done);
                }
            });
        }
        let result = work();
        done.store(true, Ordering::Release);
        result
    })
}

/// Looks for pieces of work, without sleep, until all is done or there has been none for long. (A thread may come here
/// while it waits for something that only another thread's waiting for this one holds up; then there is no work.)
fn work_until(done: &AtomicBool) {
    let mut last = Instant::now();
    while !done.load(Ordering::Acquire) && last.elapsed() < AWAKE {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => last = Instant::now(),
            // Those that load pictures may have the processor meanwhile.
            _ => std::thread::yield_now(),
        }
    }
}

/// How long a thread looks for work before it may sleep: longer than what is not parallel between two operations.
const AWAKE: Duration = Duration::from_micros(500);
