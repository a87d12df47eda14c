//! Layers of a trained model beside those of the model that it was made of.

use std::collections::BTreeMap;

use super::html::{Change, LayerRow, Layers, Part, Section};
use crate::{
    model::{LayerStatistics, Model, ModelError},
    report::cell::Cell,
    train::Run,
};

/// What became of each layer: against the first teacher where that has layers of the same names, else, in channels, against
/// what the model is known to have been pruned from. Nothing where neither is known or nothing differs.
pub(super) fn layers(run: &Run) -> Result<Option<Section>, ModelError> {
    let (model, size) = (&run.model, run.setup.size);
    let kept = &model.provenance().kept;
    let own = model.layers(size)?;
    let (rows, note) = match run.setup.teachers.first().filter(|teacher| related(model, teacher)) {
        Some(teacher) => {
            let pruned = kept.iter().all(|(name, kept)| width(teacher, name) == Some(kept.of)) && !kept.is_empty();
            let what = if pruned { "the unpruned model, which is the teacher" } else { "the teacher" };
            (against(&teacher.layers(size)?, &own), format!("Before is {what}; images of {size} px."))
        }
        None if !kept.is_empty() => {
            let note = format!("Channels before are those of the model that was first pruned; images of {size} px.");
            (pruned(model, &own), note)
        }
        None => return Ok(None),
    };
    if rows.iter().all(|row| row.changes.iter().all(|change| change.same)) {
        return Ok(None);
    }
    let caption = "layers: before → after, and what is left of each".to_owned();
    let parts = vec![Part::Layers(Layers { caption, rows })];
    Ok(Some(Section { id: "layers", title: "Layers", notes: vec![note], parts }))
}

fn width(model: &Model, layer: &str) -> Option<usize> {
    Some(model.graph().node(model.graph().find(layer)?).op.as_conv()?.out_channels)
}

/// Whether all of a model's convolutions are also in another.
pub(super) fn related(model: &Model, other: &Model) -> bool {
    model.convolutions().all(|(id, _)| width(other, &model.graph().node(id).name).is_some())
}

fn against(before: &[LayerStatistics], after: &[LayerStatistics]) -> Vec<LayerRow> {
    let after: BTreeMap<&str, &LayerStatistics> = after.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    let figures =
        |layer: &LayerStatistics| [layer.output.channels as u64, layer.params + layer.norm_params, layer.macs];
    let row = |layer: &LayerStatistics| {
        let now = after.get(layer.name.as_str()).map_or([0; 3], |layer| figures(layer));
        let changes = figures(layer).into_iter().zip(now).map(|(before, after)| change(Some(before), after)).collect();
        LayerRow { name: layer.name.clone(), changes }
    };
    before.iter().map(row).collect()
}

fn pruned(model: &Model, own: &[LayerStatistics]) -> Vec<LayerRow> {
    let row = |layer: &LayerStatistics| {
        let channels = layer.output.channels as u64;
        let before = model.provenance().kept.get(&layer.name).map_or(channels, |kept| kept.of as u64);
        let changes = vec![
            change(Some(before), channels),
            change(None, layer.params + layer.norm_params),
            change(None, layer.macs),
        ];
        LayerRow { name: layer.name.clone(), changes }
    };
    own.iter().map(row).collect()
}

/// A figure before and after; where the one before is not known it counts as the same.
fn change(before: Option<u64>, after: u64) -> Change {
    let human = |value| Cell::Count(value).human();
    let known = before.unwrap_or(after);
    let share = if known == 0 { 100.0 } else { 100.0 * after as f64 / known as f64 };
    Change { before: human(known), after: human(after), same: known == after, share: share.min(100.0).round() as u32 }
}
