//! Outputs that were computed apart, a column phase at a time, put in their positions.

use super::simd::Shared;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Rows of an output that a task writes: `count` of some channels, at equal distances.
pub(super) struct Rows {
    /// The first row of channel 0.
    start: Shared,
    /// Floats from one channel to the next.
    channel: usize,
    channels: Range<usize>,
    /// Floats from one row to the next.
    row: usize,
    count: usize,
    width: usize,
}

impl Rows {
    /// # Safety
    /// For every channel of `channels` and every y below `count`, the `width` floats from
    /// `start + c · channel + y · row` on are alive, initialised, and read and written by no one else, as long as this
    /// lives.
    pub(super) unsafe fn new(
        start: Shared,
        channel: usize,
        channels: Range<usize>,
        row: usize,
        count: usize,
        width: usize,
    ) -> Self {
        Self { start, channel, channels, row, count, width }
    }

    /// A row, of a channel and a y of its own.
    #[inline(always)]
    fn get(&mut self, channel: usize, y: usize) -> &mut [f32] {
        assert!(self.channels.contains(&channel) && y < self.count, "rows of this task");
        // SAFETY: what `new` was promised; `self` is borrowed as long as the row is.
        unsafe {
            let start = self.start.get().add(channel * self.channel + y * self.row);
            std::slice::from_raw_parts_mut(start, self.width)
        }
    }
}

/// Puts the rows of all column phases in their positions.
pub(super) struct Interleave<'a> {
    /// For each phase its first column, and its outputs, of so many columns, `[channel][row][column]`.
    pub passes: &'a [(usize, usize, &'a [f32])],
    /// Columns from one output of a phase to its next.
    pub step: usize,
    /// They are added to what is there.
    pub add: bool,
    pub rows: Rows,
}

impl WithSimd for Interleave<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Interleave { passes, step, add, mut rows } = self;
        for channel in rows.channels.clone() {
            for y in 0..rows.count {
                let from = channel * rows.count + y;
                let line = |pass: usize| {
                    let (_, columns, sums) = passes[pass];
                    &sums[from * columns..][..columns]
                };
                let to = rows.get(channel, y);
                let mut done = 0;
                if step == 2 && passes.len() == 2 {
                    done = to.len() / 2;
                    let both = line(0).iter().zip(line(1));
                    let pairs = to.as_chunks_mut::<2>().0.iter_mut().zip(both);
                    if add {
                        pairs.for_each(|(to, (a, b))| *to = [to[0] + a, to[1] + b]);
                    } else {
                        pairs.for_each(|(to, (a, b))| *to = [*a, *b]);
                    }
                }
                for (pass, &(phase, ..)) in passes.iter().enumerate() {
                    let to = to.iter_mut().skip(phase + done * step).step_by(step);
                    to.zip(&line(pass)[done..]).for_each(|(to, from)| *to = if add { *to + from } else { *from });
                }
            }
        }
    }
}
