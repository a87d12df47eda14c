//! How wide and deep a variant is.

/// How wide and deep a variant is, against the published numbers at scale 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Factor of the numbers of bottlenecks.
    pub depth: f64,
    /// Factor of the widths.
    pub width: f64,
    /// Widths are cut off here before they are scaled.
    pub max_channels: usize,
}

impl Scale {
    /// Channels for a nominal width: cut off, scaled, and rounded up to a multiple of 8.
    pub(super) fn channels(&self, nominal: usize) -> usize {
        let scaled = nominal.min(self.max_channels) as f64 * self.width;
        (scaled / 8.0).ceil() as usize * 8
    }

    /// Bottlenecks for a nominal number: scaled, rounded half to even, at least one.
    pub(super) fn repeats(&self, nominal: usize) -> usize {
        ((nominal as f64 * self.depth).round_ties_even() as usize).max(1)
    }
}
