//! What criteria need of real images: a pass over them for each kind of run, one batch in memory.

use super::{
    super::{error::PruneError, groups::Groups},
    backwards::backwards,
    forwards::forwards,
    measured::{Measured, PruneData},
    needs::Needs,
    singles::singles,
};
use crate::{model::Model, progress::Progress};

/// Measures what `importance` needs, with the running averages of the normalisations, as in inference. What is drawn
/// depends on the seed and the image's place alone.
///
/// # Errors
/// Options out of range, a split that is not there, cannot be read or, where labels are needed, has none or other classes;
/// a network that does not run or gives numbers that are not finite; a listener that asks to stop.
pub fn measure(
    model: &Model,
    groups: &Groups,
    (importance, needs): (&'static str, &Needs),
    data: &PruneData,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Measured, PruneError> {
    let mut measured = Measured::default();
    if !needs.activations.is_empty() || !needs.changes.is_empty() {
        forwards(model, needs, data, seed, progress, &mut measured)?;
    }
    if needs.gradients || !needs.pulls.is_empty() {
        backwards(model, (importance, needs), data, progress, &mut measured)?;
    }
    if needs.squares || !needs.products.is_empty() || !needs.joint.is_empty() {
        singles(model, groups, (importance, needs), data, progress, &mut measured)?;
    }
    Ok(measured)
}
