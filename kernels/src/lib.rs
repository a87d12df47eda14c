//! The CPU kernel layer: plain `f32` slices in contiguous NCHW order in, the same out.
//!
//! Nothing here knows tensors or graphs. Every kernel picks its instruction set when it runs (AVX-512, AVX2, NEON or
//! scalar, through [`pulp`]), splits its work over the current [`rayon`] pool, and borrows large temporary buffers from
//! a free list, so that a training loop touches the allocator and fresh pages only in its first step.
//!
//! For how convolutions run see [`conv`]. Slices of the wrong length are a caller's bug, and panic.

// Register tiles are indexed by constants, so that they stay in registers.
#![allow(clippy::needless_range_loop)]

pub mod allocator;
pub mod channels;
pub mod conv;
pub mod dtype;
pub mod elementwise;
pub mod lanes;
pub mod logistic;
pub mod norm;
pub mod optim;
pub mod peak;
pub mod pool;

mod correlate;
mod interleave;
mod pack;
mod planes;
pub mod scratch;
mod simd;
mod sizes;
mod squares;
mod tile;
mod weight_gradient;
mod winograd;
mod winograd_gradient;
mod winograd_kernels;

#[cfg(test)]
mod tests;
