//! Large temporary buffers, reused between calls.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// One cache line; buffers of these are aligned for any vector unit.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; 16]);

/// Buffers that no one uses at the moment.
static FREE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// How many idle buffers are kept; beyond it the smallest is given back to the allocator.
const KEEP: usize = 32;

/// A borrowed buffer; it goes back to the free list when dropped.
pub(in crate::exec) struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

/// A buffer of `len` floats, aligned to 64 bytes, whose contents are arbitrary (but initialised).
pub(in crate::exec) fn take(len: usize) -> Scratch {
    let need = len.div_ceil(16);
    let mut lines = {
        let mut free = FREE.lock().unwrap_or_else(|e| e.into_inner());
        let fits = (0..free.len()).filter(|&i| free[i].len() >= need).min_by_key(|&i| free[i].len());
        // A buffer much larger than what is asked would be missed by the one who needs it.
        match fits.filter(|&i| free[i].len() <= 4 * need.max(256)) {
            Some(i) => free.swap_remove(i),
            None => Vec::new(),
        }
    };
    if lines.len() < need {
        lines = vec![Line([0.0; 16]); need];
    }
    Scratch { lines, len }
}

/// A buffer of `len` zeros.
pub(in crate::exec) fn take_zeroed(len: usize) -> Scratch {
    let mut scratch = take(len);
    scratch.fill(0.0);
    scratch
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
        let mut free = FREE.lock().unwrap_or_else(|e| e.into_inner());
        free.push(std::mem::take(&mut self.lines));
        if free.len() > KEEP {
            let smallest = (0..free.len()).min_by_key(|&i| free[i].len()).unwrap_or(0);
            free.swap_remove(smallest);
        }
    }
}
