//! Times of repeated runs.

use serde::{Deserialize, Serialize};

/// Times of repeated runs, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Every run's time, shortest first.
    sorted: Vec<f64>,
}

impl Timing {
    /// From the times of at least one run, in any order.
    ///
    /// # Panics
    /// Without a run.
    pub fn new(mut seconds: Vec<f64>) -> Self {
        assert!(!seconds.is_empty(), "a timing needs a run");
        seconds.sort_by(f64::total_cmp);
        Self { sorted: seconds }
    }

    /// How many runs there were.
    pub fn runs(&self) -> usize {
        self.sorted.len()
    }

    /// The time that a share of the runs stays below, between neighbours linearly: 0 for the shortest, 0.5 for the
    /// median, 1 for the longest.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share.clamp(0.0, 1.0) * (self.sorted.len() - 1) as f64;
        let [low, high] = [place.floor(), place.ceil()].map(|place| self.sorted[place as usize]);
        low + (high - low) * place.fract()
    }

    /// Half of the runs took longer.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The spread: what the middle half of the runs differs by (interquartile range).
    pub fn spread(&self) -> f64 {
        self.quantile(0.75) - self.quantile(0.25)
    }

    /// The shortest and the longest run.
    pub fn range(&self) -> [f64; 2] {
        [self.quantile(0.0), self.quantile(1.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let timing = Timing::new(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!([timing.median(), timing.quantile(0.0), timing.quantile(1.0)], [2.5, 1.0, 4.0]);
        assert_eq!((timing.spread(), timing.range(), timing.runs()), (1.5, [1.0, 4.0], 4));
        let one = Timing::new(vec![7.0]);
        assert_eq!([one.median(), one.spread()], [7.0, 0.0]);
    }
}
