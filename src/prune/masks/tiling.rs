//! Where the units of a weight lie in its tensor.

use super::unit::Unit;

/// A weight (filters, input channels a filter reads, kernel height, kernel width), cut into boxes of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Extents of the tensor: filters, input channels, positions in the kernel.
    extents: [usize; 3],
    /// Extents of a box.
    sides: [usize; 3],
}

impl Tiling {
    /// The boxes of a weight of this shape; none where they do not divide it.
    pub fn new([filters, inputs, height, width]: [usize; 4], unit: Unit) -> Option<Self> {
        let extents = [filters, inputs, height * width];
        let sides = unit.sides(height * width);
        let divides = extents.iter().zip(sides).all(|(extent, side)| side > 0 && *extent > 0 && extent % side == 0);
        divides.then_some(Self { extents, sides })
    }

    /// How many boxes there are.
    pub fn count(&self) -> usize {
        self.extents.iter().zip(self.sides).map(|(extent, side)| extent / side).product()
    }

    /// How many weights a box has.
    pub fn size(&self) -> usize {
        self.sides.iter().product()
    }

    /// The places in the tensor of a box's weights, in rising order.
    pub fn weights(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let Self { extents: [_, inputs, positions], sides } = *self;
        let across = [inputs / sides[1], positions / sides[2]];
        let filter = index / (across[0] * across[1]) * sides[0];
        let input = index / across[1] % across[0] * sides[1];
        let position = index % across[1] * sides[2];
        (0..sides[0]).flat_map(move |f| {
            (0..sides[1]).flat_map(move |i| {
                let start = ((filter + f) * inputs + input + i) * positions + position;
                start..start + sides[2]
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_cover_every_weight_once() {
        let shape = [4, 6, 3, 1];
        let units = [
            (Unit::Weight, 72, 1),
            (Unit::NM { n: 1, m: 2 }, 36, 2),
            (Unit::Block { filters: 2, inputs: 3 }, 4, 18),
            (Unit::Block { filters: 4, inputs: 1 }, 6, 12),
        ];
        for (unit, count, size) in units {
            let tiling = Tiling::new(shape, unit).unwrap();
            assert_eq!((tiling.count(), tiling.size()), (count, size));
            let mut all: Vec<usize> = (0..count).flat_map(|index| tiling.weights(index)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..72).collect::<Vec<_>>(), "{unit:?}");
        }
        let pairs = Tiling::new(shape, Unit::NM { n: 1, m: 2 }).unwrap();
        // Filter 0, inputs 2 and 3, the second position; then filter 1, inputs 0 and 1, the first.
        assert_eq!(pairs.weights(4).collect::<Vec<_>>(), [7, 10]);
        assert_eq!(pairs.weights(9).collect::<Vec<_>>(), [18, 21]);
        let block = Tiling::new(shape, Unit::Block { filters: 2, inputs: 3 }).unwrap();
        assert_eq!(block.weights(1).take(4).collect::<Vec<_>>(), [9, 10, 11, 12]);
    }

    #[test]
    fn what_does_not_divide_has_none() {
        assert_eq!(Tiling::new([4, 3, 1, 1], Unit::NM { n: 2, m: 4 }), None);
        assert_eq!(Tiling::new([6, 4, 3, 3], Unit::Block { filters: 4, inputs: 1 }), None);
        assert_eq!(Tiling::new([8, 1, 3, 3], Unit::NM { n: 2, m: 4 }), None, "a depthwise filter reads one channel");
    }
}
