//! Images whose channels lie in several buffers: what a concatenation or a slice gives, without a copy.

use super::elementwise::CHUNK;
use super::simd;
use rayon::prelude::*;
use std::ops::Range;

/// Some of the channels of images that lie as `[image][channel][position]`.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// All of them.
    pub numbers: &'a [f32],
    /// Channels of an image there.
    pub channels: usize,
    /// Those that count.
    pub taken: Range<usize>,
}

/// Images of which each has the channels of all parts, one part after another.
#[derive(Clone, Debug)]
pub struct Channels<'a> {
    parts: Vec<Part<'a>>,
    images: usize,
    area: usize,
}

impl<'a> Channels<'a> {
    /// So many images, of `area` positions.
    ///
    /// # Panics
    /// If a part has not that many numbers, or not the channels that are to be taken.
    pub fn new(parts: Vec<Part<'a>>, images: usize, area: usize) -> Self {
        for Part { numbers, channels, taken } in &parts {
            assert!(taken.start <= taken.end && taken.end <= *channels, "channels {taken:?} of {channels}");
            assert_eq!(numbers.len(), images * channels * area, "numbers of {channels} channels");
        }
        Self { parts, images, area }
    }

    /// All channels of one buffer: so many images, channels of each, and positions of these.
    ///
    /// # Panics
    /// If it has not that many numbers.
    pub fn whole(numbers: &'a [f32], [images, channels, area]: [usize; 3]) -> Self {
        Self::new(vec![Part { numbers, channels, taken: 0..channels }], images, area)
    }

    /// Images, channels of each, and positions of these.
    pub fn dims(&self) -> [usize; 3] {
        [self.images, self.parts.iter().map(|part| part.taken.len()).sum(), self.area]
    }

    /// The positions of a channel.
    ///
    /// # Panics
    /// If there is no such channel or image.
    pub fn channel(&self, image: usize, channel: usize) -> &'a [f32] {
        let mut at = channel;
        for part in &self.parts {
            if at < part.taken.len() {
                let start = (image * part.channels + part.taken.start + at) * self.area;
                return &part.numbers[start..][..self.area];
            }
            at -= part.taken.len();
        }
        panic!("there is no channel {channel} among {:?}", self.dims())
    }

    /// The one buffer that they are, if they are one.
    pub fn as_one(&self) -> Option<&'a [f32]> {
        match &self.parts[..] {
            [Part { numbers, channels, taken }] if taken.len() == *channels => Some(numbers),
            _ => None,
        }
    }
}

impl Channels<'_> {
    /// y = all of them, `[image][channel][position]`.
    ///
    /// # Panics
    /// If `y` has not that many numbers.
    pub fn copy_to(&self, y: &mut [f32]) {
        self.for_planes(y, |image, channel, y| y.copy_from_slice(self.channel(image, channel)));
    }

    /// y = these + others, `[image][channel][position]`.
    ///
    /// # Panics
    /// If the others, or `y`, have not that many numbers.
    pub fn add(&self, others: &Channels, y: &mut [f32]) {
        assert_eq!(self.dims(), others.dims(), "what is added");
        self.for_planes(y, |image, channel, y| {
            let both = self.channel(image, channel).iter().zip(others.channel(image, channel));
            simd::dispatch(|| y.iter_mut().zip(both).for_each(|(y, (a, b))| *y = a + b));
        });
    }

    /// Does something with each channel of `y`, which is like these.
    fn for_planes(&self, y: &mut [f32], each: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let [images, channels, area] = self.dims();
        assert_eq!(y.len(), images * channels * area, "length");
        if y.is_empty() {
            return;
        }
        let planes = y.par_chunks_mut(area).with_min_len(CHUNK.div_ceil(area)).enumerate();
        planes.for_each(|(plane, y)| each(plane / channels, plane % channels, y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_parts_follow_each_other() {
        let [a, b]: [Vec<f32>; 2] = [(0..12).map(|i| i as f32).collect(), (100..108).map(|i| i as f32).collect()];
        let parts =
            vec![Part { numbers: &a, channels: 3, taken: 1..3 }, Part { numbers: &b, channels: 2, taken: 1..2 }];
        let both = Channels::new(parts, 2, 2);
        let found: Vec<_> = (0..2).flat_map(|image| (0..3).map(move |c| (image, c))).collect();
        let found: Vec<&[f32]> = found.into_iter().map(|(image, c)| both.channel(image, c)).collect();
        let expected: [&[f32]; 6] = [&[2., 3.], &[4., 5.], &[102., 103.], &[8., 9.], &[10., 11.], &[106., 107.]];
        assert_eq!(found, expected);
        assert_eq!((both.dims(), both.as_one()), ([2, 3, 2], None));
        assert_eq!(Channels::whole(&a, [2, 3, 2]).as_one(), Some(&a[..]));
    }
}
