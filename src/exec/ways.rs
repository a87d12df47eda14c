//! In which ways convolutions run.

/// How many convolutions run in the ways that are faster than the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvolutionWays {
    /// As one step with their normalisation, folded into their weights, and their activation.
    pub fused: usize,
    /// By Winograd's minimal filtering.
    pub winograd: usize,
}
