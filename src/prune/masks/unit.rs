//! What goes at once under a mask.

use super::super::{error::PruneError, granularity::Granularity, options::PruneOptions};
use crate::options::OptionError;

/// What goes at once under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A weight.
    Weight,
    /// Of every `m` weights along the input channels of a filter, at one position of its kernel, all but `n`.
    NM {
        /// Weights that stay.
        n: usize,
        /// Weights together.
        m: usize,
    },
    /// The weights between so many filters and so many input channels, at all positions of the kernel.
    Block {
        /// Filters.
        filters: usize,
        /// Input channels.
        inputs: usize,
    },
}

/// The largest `m` of a pattern.
const MOST: usize = 64;

impl Unit {
    /// What the options ask for.
    ///
    /// # Errors
    /// A pattern or a block that is none, named with what would be.
    pub fn of(options: &PruneOptions) -> Result<Self, PruneError> {
        let masks = Granularity::MASKED.iter().map(|granularity| granularity.name()).collect::<Vec<_>>().join(", ");
        match options.granularity {
            Granularity::Weight => Ok(Self::Weight),
            Granularity::NM => Self::pattern(&options.pattern),
            Granularity::Block => Self::block(&options.block),
            granularity @ (Granularity::Channel | Granularity::Filter | Granularity::Depth) => {
                Err(PruneError::NotYet { granularity, what: "masks", allowed: masks })
            }
        }
    }

    fn pattern(text: &str) -> Result<Self, PruneError> {
        let parsed = text.split_once(':').and_then(|(n, m)| Some((n.trim().parse().ok()?, m.trim().parse().ok()?)));
        match parsed {
            Some((n, m)) if (1..m).contains(&n) && m <= MOST => Ok(Self::NM { n, m }),
            Some(_) | None => {
                let expected = format!(
                    "\"n:m\", such as \"2:4\": of every m weights n stay, where n is at least 1 and below m, and m at most {MOST}"
                );
                Err(OptionError::value("pattern", expected, format!("{text:?}")).into())
            }
        }
    }

    fn block(sides: &[usize]) -> Result<Self, PruneError> {
        match *sides {
            [filters, inputs] if filters >= 1 && inputs >= 1 => Ok(Self::Block { filters, inputs }),
            _ => {
                let expected = "two whole numbers from 1 up, such as [4, 1]: filters and input channels of a block";
                Err(OptionError::value("block", expected, format!("{sides:?}")).into())
            }
        }
    }

    /// How many filters, input channels and positions of a kernel of so many are together.
    pub(super) fn sides(self, positions: usize) -> [usize; 3] {
        match self {
            Self::Weight => [1, 1, 1],
            Self::NM { n: _, m } => [1, m, 1],
            Self::Block { filters, inputs } => [filters, inputs, positions],
        }
    }
}
