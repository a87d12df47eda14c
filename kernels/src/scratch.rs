//! Large temporary buffers, reused between calls.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One cache line; buffers of these are aligned for any vector unit.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; 16]);

/// Buffers that no one uses at the moment.
static FREE: Mutex<Free> = Mutex::new(Free { by_len: BTreeMap::new(), cleaned: None });

struct Free {
    /// By their length in lines, each with the time it was given back.
    by_len: BTreeMap<usize, Vec<(Instant, Vec<Line>)>>,
    /// When old ones were last looked for.
    cleaned: Option<Instant>,
}

/// Buffers idle for so long are given back to the allocator. A training loop asks for all of its buffers again in the
/// next step; a network of another size, or an evaluation that is over, leaves some that no one wants.
const KEEP: Duration = Duration::from_secs(10);

/// A borrowed buffer; it goes back to the free list when dropped.
pub struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

/// A buffer of `len` floats, aligned to 64 bytes, whose contents are arbitrary (but initialised).
pub fn take(len: usize) -> Scratch {
    let need = len.div_ceil(16);
    // A buffer much larger than what is asked would be missed by the one who needs it.
    let most = need + need / 4 + 64;
    let found = {
        let mut free = free();
        let found = free.by_len.range_mut(need..=most).find_map(|(_, buffers)| buffers.pop());
        found.map(|(_, lines)| lines)
    };
    let lines = found.unwrap_or_else(|| vec![Line([0.0; 16]); need]);
    Scratch { lines, len }
}

/// A buffer of `len` zeros.
pub fn take_zeroed(len: usize) -> Scratch {
    let mut scratch = take(len);
    scratch.fill(0.0);
    scratch
}

/// Gives all buffers that no one uses to the allocator.
pub(super) fn empty() {
    let buffers = std::mem::take(&mut free().by_len);
    // The allocator works without the lock.
    drop(buffers);
}

fn free() -> MutexGuard<'static, Free> {
    FREE.lock().unwrap_or_else(|e| e.into_inner())
}

impl Free {
    /// Removes the buffers that have been idle for long, now and then.
    fn clean(&mut self, now: Instant) -> Vec<(Instant, Vec<Line>)> {
        if self.cleaned.is_some_and(|last| now - last < KEEP / 8) {
            return Vec::new();
        }
        self.cleaned = Some(now);
        let mut old = Vec::new();
        self.by_len.retain(|_, buffers| {
            old.extend(buffers.extract_if(.., |(since, _)| now - *since > KEEP));
            !buffers.is_empty()
        });
        old
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` initialised floats, and `Line` is nothing but 16 floats.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (now, lines) = (Instant::now(), std::mem::take(&mut self.lines));
        let mut free = free();
        free.by_len.entry(lines.len()).or_default().push((now, lines));
        let old = free.clean(now);
        // The allocator works without the lock.
        drop(free);
        drop(old);
    }
}
