//! What convolutions multiply: fp32 numbers, or numbers rounded to bf16, of which a word holds two.
//!
//! A word is 32 bits, kept as `f32`. The register tiles see only words: they load vectors of them, repeat one in all
//! lanes, and have `Multiply` add products to fp32 sums, one product a word or two. So both precisions share the
//! layouts and the loops; bf16 has half as many words.

use half::bf16;
use pulp::{Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::simd;

/// The precision of the numbers that convolutions multiply. Sums and everything else are fp32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// As they are.
    #[default]
    Fp32,
    /// Rounded to bf16 (8 bits of exponent, 7 of mantissa), to nearest. Without AVX-512 BF16 instructions the results
    /// are the same, but slow.
    Bf16,
}

impl ComputeDtype {
    /// Whether this processor has instructions for it.
    pub fn is_native(self) -> bool {
        match self {
            ComputeDtype::Fp32 => true,
            #[cfg(target_arch = "x86_64")]
            ComputeDtype::Bf16 => native::processor().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            ComputeDtype::Bf16 => false,
        }
    }

    /// Its name as an option.
    pub const fn name(self) -> &'static str {
        match self {
            ComputeDtype::Fp32 => "fp32",
            ComputeDtype::Bf16 => "bf16",
        }
    }

    /// The instructions by which this processor multiplies such numbers here.
    pub fn instructions(self) -> &'static str {
        match self {
            ComputeDtype::Bf16 if self.is_native() => "AVX-512 BF16",
            ComputeDtype::Fp32 | ComputeDtype::Bf16 => simd::instruction_set(),
        }
    }

    /// Numbers in a word.
    pub(super) fn in_word(self) -> usize {
        match self {
            ComputeDtype::Fp32 => 1,
            ComputeDtype::Bf16 => 2,
        }
    }

    /// How many words hold so many numbers.
    pub(super) fn words(self, numbers: usize) -> usize {
        numbers.div_ceil(self.in_word())
    }
}

/// How products of words are added to sums.
pub(super) trait Multiply<S: Simd>: Copy {
    /// Numbers in a word.
    const NUMBERS: usize;

    /// The sums plus the products of two vectors of words.
    fn multiply_add(self, s: S, a: S::f32s, b: S::f32s, sums: S::f32s) -> S::f32s;
}

/// Work that is the same for all kinds of words.
pub(super) trait WithProducts {
    type Output;

    /// Does it; to be inlined, as [`WithSimd::with_simd`].
    fn with_products<S: Simd, M: Multiply<S>>(self, s: S, multiply: M) -> Self::Output;
}

/// Does `work` on such words with the best instruction set of this machine.
#[inline]
pub(super) fn dispatch<W: WithProducts>(dtype: ComputeDtype, work: W) -> W::Output {
    match dtype {
        ComputeDtype::Fp32 => simd::dispatch(InFp32(work)),
        ComputeDtype::Bf16 => {
            #[cfg(target_arch = "x86_64")]
            if let Some(processor) = native::processor() {
                // SAFETY: the processor has the instructions.
                return unsafe { native::run(processor, work) };
            }
            simd::dispatch(InBf16(work))
        }
    }
}

/// One number a word.
#[derive(Clone, Copy)]
pub(super) struct Singles;

impl<S: Simd> Multiply<S> for Singles {
    const NUMBERS: usize = 1;

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::f32s, b: S::f32s, sums: S::f32s) -> S::f32s {
        s.mul_add_e_f32s(a, b, sums)
    }
}

/// Two numbers a word, taken apart by plain instructions.
#[derive(Clone, Copy)]
struct Pairs;

impl<S: Simd> Multiply<S> for Pairs {
    const NUMBERS: usize = 2;

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::f32s, b: S::f32s, sums: S::f32s) -> S::f32s {
        let second = |words| s.transmute_f32s_u32s(s.and_u32s(s.transmute_u32s_f32s(words), s.splat_u32s(0xffff_0000)));
        let first =
            |words| s.transmute_f32s_u32s(s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(words), s.splat_u32s(16)));
        s.mul_add_e_f32s(first(a), first(b), s.mul_add_e_f32s(second(a), second(b), sums))
    }
}

struct InFp32<W>(W);

impl<W: WithProducts> WithSimd for InFp32<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> W::Output {
        self.0.with_products(s, Singles)
    }
}

struct InBf16<W>(W);

impl<W: WithProducts> WithSimd for InBf16<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> W::Output {
        self.0.with_products(s, Pairs)
    }
}

/// AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
mod native {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
    use std::mem::transmute;

    use pulp::{f32x16, x86::V4};

    use super::{Multiply, WithProducts};
    #[cfg(test)]
    use crate::simd::SCALAR;

    /// The processor, if it has the instructions.
    pub(super) fn processor() -> Option<V4> {
        #[cfg(test)]
        if SCALAR.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        std::arch::is_x86_feature_detected!("avx512bf16").then(V4::try_new).flatten()
    }

    /// Does `work` in a function that may use the instructions, and all that it inlines.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) unsafe fn run<W: WithProducts>(processor: V4, work: W) -> W::Output {
        // SAFETY: the caller's promise.
        work.with_products(processor, unsafe { Instruction::new() })
    }

    /// Two numbers a word, multiplied and added by one instruction; there is one only where the processor has it.
    #[derive(Clone, Copy)]
    struct Instruction(());

    impl Instruction {
        /// # Safety
        /// The processor has AVX-512 BF16.
        unsafe fn new() -> Self {
            Self(())
        }
    }

    impl Multiply<V4> for Instruction {
        const NUMBERS: usize = 2;

        #[inline(always)]
        fn multiply_add(self, _: V4, a: f32x16, b: f32x16, sums: f32x16) -> f32x16 {
            // SAFETY: the processor has the instruction, as whoever made `self` promised; all these types are 64 bytes of
            // which any pattern is a value.
            unsafe {
                let words = |vector| transmute::<f32x16, __m512bh>(vector);
                let sums = _mm512_dpbf16_ps(transmute::<f32x16, __m512>(sums), words(a), words(b));
                transmute::<__m512, f32x16>(sums)
            }
        }
    }
}

/// Rounds numbers to bf16 and writes them one after another, two a word; the last word's second is zero where it is
/// left over.
pub(super) fn round(from: &[f32], to: &mut [f32]) {
    assert_eq!(to.len(), from.len().div_ceil(2), "words");
    simd::dispatch(Round { from, to });
}

struct Round<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (pairs, rest) = self.from.as_chunks::<2>();
        self.to.iter_mut().zip(pairs).for_each(|(to, [first, second])| *to = word(*first, *second));
        if let ([last], Some(to)) = (rest, self.to.last_mut()) {
            *to = word(*last, 0.0);
        }
    }
}

/// Rounds rows of `width` numbers to bf16 and writes two rows as one of words: a word holds what lies above each other.
/// An odd last row is paired with zeros.
pub(super) fn pair_rows(from: &[f32], width: usize, to: &mut [f32]) {
    assert_eq!(to.len(), from.len().div_ceil(2 * width) * width, "rows of words");
    simd::dispatch(PairRows { from, width, to });
}

struct PairRows<'a> {
    from: &'a [f32],
    width: usize,
    to: &'a mut [f32],
}

impl WithSimd for PairRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, from) in self.to.chunks_exact_mut(self.width).zip(self.from.chunks(2 * self.width)) {
            let (first, second) = from.split_at(self.width);
            if second.is_empty() {
                to.iter_mut().zip(first).for_each(|(to, first)| *to = word(*first, 0.0));
            } else {
                to.iter_mut()
                    .zip(first.iter().zip(second))
                    .for_each(|(to, (first, second))| *to = word(*first, *second));
            }
        }
    }
}

/// Two numbers rounded to bf16.
#[inline(always)]
pub(super) fn word(first: f32, second: f32) -> f32 {
    let bits = |number| u32::from(bf16::from_f32(number).to_bits());
    f32::from_bits(bits(first) | bits(second) << 16)
}
