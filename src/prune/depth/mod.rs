//! Depth: residual branches that go as a whole, such as the bottlenecks of C3 and C2f.
//!
//! [`branches`] finds them, [`without`] removes them, [`choose`] says which go for an amount. A branch adds to its input;
//! without it the sum is the input, and where a concatenation then holds the same value twice (in C2f) its readers add the
//! columns of both, so that the network is physically smaller. Huang and Wang 2018 (Sparse Structure Selection) and Veit
//! et al. 2016 remove and study residual branches.

mod branch;
mod remove;

pub use branch::{Branch, branches};
pub(super) use remove::{Rewrite, without, zeroed};

#[cfg(test)]
mod tests;
