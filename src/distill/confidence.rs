//! How sure a detector is that there is an object, place by place.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use crate::model::{Detector, Head, OutputKind};

/// Of every level, the best class score at every place: (n, anchors, h, w), one anchor where the head has none.
pub(super) fn best_scores(detector: &Detector, outputs: &[Tensor]) -> Result<Vec<Tensor>> {
    match &detector.head {
        Head::Anchors { anchors } => {
            let maps = detector.by_level(OutputKind::Anchors, outputs);
            let level = |(map, anchors): (&Tensor, usize)| {
                let (batch, channels, height, width) = map.dims4()?;
                let map = map.reshape((batch, anchors, channels / anchors, height, width))?;
                let scores = sigmoid(&map.narrow(2, 5, channels / anchors - 5)?)?.max(2)?;
                sigmoid(&map.narrow(2, 4, 1)?.squeeze(2)?)? * scores
            };
            maps.into_iter().zip(anchors.iter().map(Vec::len)).map(level).collect()
        }
        Head::Distribution { .. } => {
            let maps = detector.by_level(OutputKind::Classes, outputs);
            maps.into_iter().map(|map| sigmoid(&map.max_keepdim(1)?)).collect()
        }
    }
}
