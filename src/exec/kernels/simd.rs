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

/// Makes tests go without vector instructions, as machines do that have none we know.
#[cfg(test)]
pub(super) static SCALAR: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// A mutable pointer that several threads write disjoint parts of.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub *mut f32);
// SAFETY: whoever dereferences it states why no two threads touch the same element.
unsafe impl Send for Shared {}
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

/// e⁻ˣ for x in [-88, 87], to which others are clamped; relative error below 2.5e-7.
///
/// Cody and Waite's reduction −x = n·ln 2 − r, then a polynomial of degree 5 in r (minimax on |r| ≤ ln 2 / 2), pairwise,
/// so that few products wait for each other, then n is put into the exponent by integer arithmetic.
#[inline(always)]
fn exp_of_negated<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    // 1.5·2²³: adding it rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = s.min_f32s(s.max_f32s(x, s.splat_f32s(-88.0)), s.splat_f32s(87.0));
    let shifted = s.mul_add_e_f32s(x, s.splat_f32s(-std::f32::consts::LOG2_E), s.splat_f32s(ROUND));
    let n = s.sub_f32s(shifted, s.splat_f32s(ROUND));
    let r = s.mul_add_e_f32s(n, s.splat_f32s(0.693_359_4), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-2.121_944_4e-4), r);
    let line = |slope: f32, start: f32| s.mul_add_e_f32s(r, s.splat_f32s(slope), s.splat_f32s(start));
    let square = s.mul_f32s(r, r);
    let power = s.mul_add_e_f32s(line(-8.290_272e-3, 4.189_816e-2), square, line(-0.166_676_39, 0.499_991_48));
    let power = s.mul_add_e_f32s(power, square, line(-0.999_999_7, 1.0));
    let exponent = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(23));
    s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(power), exponent))
}

/// The logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(one, s.add_f32s(one, exp_of_negated(s, x)))
}

/// SiLU, x·σ(x) (Elfwing et al. 2017, <https://arxiv.org/abs/1702.03118>).
#[inline(always)]
pub(super) fn silu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(x, s.add_f32s(one, exp_of_negated(s, x)))
}

/// dSiLU/dx = σ(x)·(1 + x·(1 − σ(x))).
#[inline(always)]
pub(super) fn silu_slope<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let g = sigmoid(s, x);
    s.mul_f32s(g, s.mul_add_e_f32s(x, s.sub_f32s(one, g), one))
}
