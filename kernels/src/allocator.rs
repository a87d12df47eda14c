//! What happens to memory that is freed: kept while work lasts that will want it again, and given back after it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::scratch;

/// Makes the allocator keep what is freed: a training loop asks for the same large tensors in every step, and glibc would
/// give their memory back to the system and fault it in again, page by page. Call it before there are other threads.
/// [`give_back`] returns the memory nevertheless.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    /// The most that glibc takes.
    const LARGEST_HEAP_BUFFER: libc::c_int = 32 << 20;
    // SAFETY: sets two numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_HEAP_BUFFER);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}

/// Other allocators are left alone.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}

/// Returns idle buffers, and all other memory that is free, to the system.
pub fn give_back() {
    scratch::empty();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only releases pages that hold nothing; any thread may call it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Work that borrows memory, such as a training run or an evaluation: what it leaves free is given back when it is dropped.
/// Where such work lies inside other such work, only the end of the outermost gives memory back, so that an evaluation
/// after every epoch does not slow down the next.
#[derive(Debug)]
#[must_use = "memory is given back when it is dropped"]
pub struct Borrowing(());

/// How many there are.
static BORROWING: AtomicUsize = AtomicUsize::new(0);

impl Borrowing {
    /// Work begins.
    pub fn begin() -> Self {
        BORROWING.fetch_add(1, Ordering::AcqRel);
        Self(())
    }
}

impl Drop for Borrowing {
    fn drop(&mut self) {
        if BORROWING.fetch_sub(1, Ordering::AcqRel) == 1 {
            give_back();
        }
    }
}
