//! Spending an amount where a scan says that it costs least.

use super::{error::PruneError, pruner::Pruner, scan::Scan};

impl Pruner {
    /// The same pruner, which takes from the groups by what a scan of its model says: first where the loss rises least, or
    /// mAP50-95 falls least, for each MAC, parameter or whatever the amount is of. Within a group the scores decide, as
    /// before; the scope no longer counts.
    ///
    /// # Errors
    /// A scan of another model, of single channels, or without a group that may lose channels.
    pub fn with_scan(self, scan: &Scan) -> Result<Self, PruneError> {
        scan.check(self.model())?;
        let mut curves = Vec::with_capacity(self.groups().all().len());
        for (id, group) in self.groups().all().iter().enumerate() {
            let all = group.coupled.len();
            let cost = |gone: usize| scan.cost(&group.name, gone as f64 / all as f64);
            let curve: Option<Vec<f64>> = (0..=all).map(cost).collect();
            curves.push(match curve {
                Some(curve) => curve,
                None if self.keeps_whole(id) => vec![0.0; all + 1],
                None => return Err(PruneError::NotScanned { group: group.name.clone() }),
            });
        }
        Ok(self.with_curves(curves))
    }
}
