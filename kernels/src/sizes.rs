//! The sizes of a convolution's work.

use super::channels::Channels;
use super::dtype::ComputeDtype;

/// Sizes of a whole problem; channels are those of one group.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub dtype: ComputeDtype,
    pub batch: usize,
    pub groups: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub in_area: usize,
    pub out_hw: [usize; 2],
}

impl Sizes {
    /// Words for the input channels at one position.
    pub(super) fn words(&self) -> usize {
        self.dtype.words(self.in_channels)
    }

    /// The input channels of a group of an image.
    pub(super) fn inputs<'a>(&self, x: &Channels<'a>, image: usize, group: usize) -> Vec<&'a [f32]> {
        let first = group * self.in_channels;
        (first..first + self.in_channels).map(|channel| x.channel(image, channel)).collect()
    }
}
