//! Panics: faults of Espalier's own, told as errors so that the session and its variables survive.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A panic, what was running, and where it came from when [`quiet_panics`] listens.
#[derive(Debug, thiserror::Error)]
#[error("Espalier failed in {running}; that is its own fault, not the script's: {message}{}",
    place.as_ref().map(|place| format!(" (at {place})")).unwrap_or_default())]
pub struct Fault {
    running: String,
    message: String,
    place: Option<String>,
}

/// What to do about a [`Fault`].
pub const REPORT: &str = concat!(
    "please report this message with the script that led to it; this is espalier ",
    env!("CARGO_PKG_VERSION"),
    ", and RUST_BACKTRACE=1 adds the calls that led there"
);

/// Does some work; a panic in it becomes an error that says what was `running`.
///
/// # Errors
/// A panic.
pub fn catch<T>(running: &str, work: impl FnOnce() -> T) -> Result<T, Fault> {
    let outer = GUARDS.fetch_add(1, Ordering::SeqCst) == 0;
    if outer {
        take_place();
    }
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDS.fetch_sub(1, Ordering::SeqCst);
    result.map_err(|payload| Fault { running: running.into(), message: message(&*payload), place: take_place() })
}

/// From here on a panic under a call prints nothing itself, unless RUST_BACKTRACE asks for it.
pub fn quiet_panics() {
    let usual = take_hook();
    let backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let caught = GUARDS.load(Ordering::SeqCst) > 0;
        if caught {
            // The first of several is what made the others panic.
            let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
            *place = place.take().or_else(|| panic.location().map(ToString::to_string));
        }
        if !caught || backtrace {
            usual(panic);
        }
    }));
}

/// How many calls of [`catch`] are under way.
static GUARDS: AtomicUsize = AtomicUsize::new(0);
/// Where the first panic under them was.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

fn take_place() -> Option<String> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_says_what_was_running() {
        let index = std::hint::black_box(3);
        let fault = catch("`fit`", || [1, 2][index]).unwrap_err().to_string();
        assert!(fault.contains("failed in `fit`") && fault.contains("index is 3"), "{fault}");
        assert_eq!(catch("`fit`", || 1).unwrap(), 1);
    }
}
