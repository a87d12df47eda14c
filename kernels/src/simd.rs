//! Vector functions over [`pulp`], and the unaligned loads and stores the kernels share.

use pulp::{Arch, Simd, WithSimd};

/// Runs `op` with the best instruction set of this machine.
#[inline]
pub(super) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    #[cfg(test)]
    if SCALAR.load(std::sync::atomic::Ordering::Relaxed) {
        return Arch::Scalar.dispatch(op);
    }
    Arch::new().dispatch(op)
}

/// The vector instructions that the kernels use on this machine.
pub fn instruction_set() -> &'static str {
    match dispatch(Lanes) {
        16 => "AVX-512",
        8 => "AVX2",
        4 => "NEON",
        _ => "no vectors",
    }
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Makes tests go without vector instructions, as machines do that have none we know.
#[cfg(test)]
pub(super) static SCALAR: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// A mutable pointer that several threads write disjoint parts of.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub *mut f32);
// SAFETY: it is a number until it is dereferenced, and whoever does that states why the memory is alive and why no other
// thread touches the same element meanwhile. Its elements, `f32`, may be written from any thread.
unsafe impl Send for Shared {}
// SAFETY: as above; a shared reference gives no more than a copy of the pointer does.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer (a method, so that closures capture the whole wrapper).
    #[inline(always)]
    pub(super) fn get(self) -> *mut f32 {
        self.0
    }
}

/// Loads one vector.
///
/// # Safety
/// `S::F32_LANES` floats are readable at `p`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(_: S, p: *const f32) -> S::f32s {
    // SAFETY: the caller's promise; every bit pattern is a vector of floats.
    unsafe { p.cast::<S::f32s>().read_unaligned() }
}

/// Stores one vector.
///
/// # Safety
/// `S::F32_LANES` floats are writable at `p`.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(_: S, p: *mut f32, v: S::f32s) {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<S::f32s>().write_unaligned(v) }
}
