//! What goes as a unit.

use crate::options::option_names;

/// What goes as a unit: physically, or held at zero by a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// Coupled channels are removed, judged by what flows through them.
    #[default]
    Channel,
    /// Coupled channels are removed, judged by the filters that produce them.
    Filter,
    /// Single weights are held at zero.
    Weight,
    /// Of every m weights along the input channels, n stay and the others are held at zero.
    NM,
    /// Blocks of filters × input channels are held at zero.
    Block,
    /// Residual branches are removed.
    Depth,
}
option_names!(Granularity, "granularity":
    Channel = "channel", Filter = "filter", Weight = "weight", NM = "n:m", Block = "block", Depth = "depth");

impl Granularity {
    /// Those that remove coupled channels.
    pub const REMOVED: &'static [Self] = &[Self::Channel, Self::Filter];
    /// Those that hold weights at zero.
    pub const MASKED: &'static [Self] = &[Self::Weight, Self::NM, Self::Block];

    /// That which removes residual branches.
    pub const BRANCHES: &'static [Self] = &[Self::Depth];

    /// Whether weights are held at zero, so that shapes stay.
    pub fn masks(self) -> bool {
        Self::MASKED.contains(&self)
    }

    /// Whether coupled channels are removed.
    pub fn removes_channels(self) -> bool {
        Self::REMOVED.contains(&self)
    }
}
