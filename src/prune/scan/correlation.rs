//! How well scores guess what the oracle measured.

use serde::Serialize;

use super::{
    super::{
        error::PruneError,
        pruner::{Pruner, ScoreRow},
        scan_error::ScanError,
    },
    found::{Scan, ScanCell, ScanRow},
    options::ScanUnit,
};

/// How well a criterion orders the channels of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// The group's name.
    pub group: String,
    /// How many channels were compared.
    pub channels: usize,
    /// Spearman's rank correlation between scores and measured rises, from -1 to 1; none where either is constant.
    pub spearman: Option<f64>,
    /// The same with the magnitudes of the rises, which is what scores that square or take magnitudes guess (Molchanov et al.
    /// 2017 call it oracle-abs).
    pub magnitude: Option<f64>,
}

impl Scan {
    /// How well a pruner's scores order the channels of each group as this scan of single channels does.
    ///
    /// # Errors
    /// A scan of groups, of another model, or scores that cannot be had.
    pub fn correlation(&self, pruner: &Pruner) -> Result<Vec<Correlation>, PruneError> {
        if self.options.unit != ScanUnit::Channel {
            let (needed, found) = (ScanUnit::Channel.name(), self.options.unit.name());
            return Err(ScanError::Unit { what: "a correlation", needed, found }.into());
        }
        self.check(pruner.model())?;
        let scores = pruner.scores()?;
        let row = |row: &ScanRow| {
            let score = |cell: &ScanCell| {
                let own = |score: &&ScoreRow| score.group == row.group && cell.channels.first() == Some(&score.channel);
                Some((scores.iter().find(own)?.score, cell.drop))
            };
            let (scores, rises): (Vec<f64>, Vec<f64>) = row.cells.iter().filter_map(score).unzip();
            let magnitudes: Vec<f64> = rises.iter().map(|rise| rise.abs()).collect();
            Correlation {
                group: row.group.clone(),
                channels: rises.len(),
                spearman: spearman(&scores, &rises),
                magnitude: spearman(&scores, &magnitudes),
            }
        };
        Ok(self.rows.iter().map(row).collect())
    }
}

/// Spearman's rank correlation (Spearman 1904): the linear correlation of the ranks, where equal numbers share the mean of
/// theirs. `None` where either has fewer than two different numbers, or a number is NaN.
///
/// # Panics
/// Never; of lists of different length the shorter counts.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let count = a.len().min(b.len());
    let (a, b) = (ranks(&a[..count])?, ranks(&b[..count])?);
    let mean = (count as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

/// The rank of each number, from 1; equal ones share the mean of theirs. `None` if one is NaN.
fn ranks(numbers: &[f64]) -> Option<Vec<f64>> {
    if numbers.iter().any(|number| number.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for same in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        same.iter().for_each(|&index| ranks[index] = before as f64 + (same.len() as f64 + 1.0) / 2.0);
        before += same.len();
    }
    Some(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_equal_numbers_are_shared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]).unwrap(), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn correlations_by_hand() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 90.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[9.0, 5.0, -1.0]), Some(-1.0));
        // Without ties it is 1 − 6 Σ d² / (n (n² − 1)): here d = 1, 1, 1, 1, 0.
        let found = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]).unwrap();
        assert!((found - (1.0 - 6.0 * 4.0 / 120.0)).abs() < 1e-12, "{found}");
        // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: 4.5 / √(4.5 · 5).
        let found = spearman(&[0.0, 7.0, 7.0, 8.0], &[0.1, 0.3, 0.2, 0.4]).unwrap();
        assert!((found - 4.5 / 22.5f64.sqrt()).abs() < 1e-12, "{found}");
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[], &[]), None);
    }
}
