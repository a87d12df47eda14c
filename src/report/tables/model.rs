//! Tables of models and their layers.

use std::collections::HashMap;

use crate::eval::ActivationStatistics;
use crate::model::{FilterStatistics, Head, LayerStatistics, Model, ModelError, Statistics};
use crate::report::{
    cell::Cell,
    table::{Column, Table},
};

/// What a dataset adds to the layers' table.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// What each layer gives.
    pub activations: Vec<ActivationStatistics>,
    /// Mean gradient magnitude of each layer's weight, by its name.
    pub gradients: Vec<(String, f64)>,
}

/// A model in a line: name, classes, convolutions, parameters, MACs at 640 pixels.
pub fn headline(model: &Model) -> String {
    let (classes, convolutions) = (model.detector().classes.len(), model.convolutions().count());
    let cost = match model.cost(HEADLINE_SIZE) {
        Ok(cost) => format!(
            "{} parameters · {}MACs @{HEADLINE_SIZE}",
            Cell::Count(cost.params).human(),
            Cell::Count(cost.macs).human()
        ),
        Err(error) => error.to_string(),
    };
    let device = match model.device().location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    };
    let plural = if classes == 1 { "class" } else { "classes" };
    format!("{} · {classes} {plural} · {convolutions} convolutions · {cost} · {device}", model.provenance().name)
}

/// The size at which MACs are told where none is asked for.
const HEADLINE_SIZE: usize = 640;

/// A model's facts, one a row: what it detects, what it costs, where it comes from.
pub fn summary(model: &Model, size: usize) -> Result<Table, ModelError> {
    let cost = model.cost(size)?;
    let mut table = Table::new(headline(model), ["fact", "value"]);
    let head = match &model.detector().head {
        Head::Anchors { anchors } => format!("YOLOv5, {} anchors a level", anchors.first().map_or(0, Vec::len)),
        Head::Distribution { reg_max } => format!("YOLOv8, {reg_max} bins a side"),
    };
    let strides: Vec<String> = model.detector().strides.iter().map(usize::to_string).collect();
    let rows = [
        ("classes", Cell::Text(model.detector().classes.join(", "))),
        ("head", head.into()),
        ("strides", strides.join(", ").into()),
        ("layers", model.graph().nodes().len().into()),
        ("convolutions", model.convolutions().count().into()),
        ("parameters", Cell::Count(cost.params)),
        ("MACs", Cell::Count(cost.macs)),
        ("image size", size.into()),
        ("fp32 size", Cell::Bytes(cost.params * 4)),
    ];
    for (fact, value) in rows {
        table.push([fact.into(), value]);
    }
    for step in &model.provenance().history {
        table.push(["history".into(), step.as_str().into()]);
    }
    Ok(table)
}

/// A row for each convolution with the normalisation behind it; totals below.
pub fn layers(model: &Model, size: usize, rows: &[LayerStatistics], extras: Option<&Extras>) -> Table {
    let mut columns = vec![
        Column::from("layer"),
        Column::from("kind"),
        Column::from("input"),
        Column::from("output"),
        Column::from("kernel"),
        Column::from("stride"),
        Column::new("params", "parameters").sum(),
        Column::new("macs", "MACs").sum(),
        Column::new("macs_share", "share").sum(),
    ];
    columns.extend(weight_columns());
    columns.extend([Column::new("bn_min", "BN min"), Column::new("bn_max", "BN max")]);
    if extras.is_some() {
        columns.extend([
            Column::new("activation_mean", "out mean"),
            Column::new("activation_std", "out std"),
            Column::new("activation_zeros", "out near 0"),
            Column::new("gradient", "|grad| mean"),
        ]);
    }
    let activations: HashMap<&str, &Statistics> = extras
        .map(|extras| extras.activations.iter().map(|found| (found.name.as_str(), &found.activation)).collect())
        .unwrap_or_default();
    let gradients: HashMap<&str, f64> = extras
        .map(|extras| extras.gradients.iter().map(|(name, gradient)| (name.as_str(), *gradient)).collect())
        .unwrap_or_default();
    let masked = rows.iter().any(|row| row.masked.is_some());
    if masked {
        columns.push(Column::new("masked", "held at 0"));
    }
    let mut table = Table::new(format!("{} at {size} px", model.provenance().name), columns);
    for row in rows {
        let shape = |shape: &crate::graph::Shape| format!("{}×{}×{}", shape.channels, shape.height, shape.width);
        let pair =
            |[down, across]: [usize; 2]| if down == across { down.to_string() } else { format!("{down}×{across}") };
        let mut cells: Vec<Cell> = vec![
            row.name.as_str().into(),
            row.kind.as_str().into(),
            shape(&row.input).into(),
            shape(&row.output).into(),
            pair(row.kernel).into(),
            pair(row.stride).into(),
            Cell::Count(row.params + row.norm_params),
            Cell::Count(row.macs),
            Cell::Percent(row.macs_share),
        ];
        cells.extend(weight(&row.weight));
        let [low, high] = row.norm_scale.map_or([None, None], |[low, high]| [Some(low), Some(high)]);
        cells.extend([low.into(), high.into()]);
        if extras.is_some() {
            let found = activations.get(row.name.as_str());
            cells.extend([
                found.map(|found| found.mean).into(),
                found.map(|found| found.std).into(),
                found.map_or(Cell::Missing, |found| Cell::Percent(found.near_zeros)),
                gradients.get(row.name.as_str()).copied().into(),
            ]);
        }
        if masked {
            cells.push(row.masked.map_or(Cell::Missing, Cell::Percent));
        }
        table.push(cells);
    }
    table
}

/// A row for each filter of a convolution.
pub fn filters(name: &str, rows: &[FilterStatistics]) -> Table {
    let affine = [Column::from("bias"), Column::new("bn_scale", "BN scale"), Column::new("bn_shift", "BN shift")];
    let columns = [Column::from("filter")].into_iter().chain(weight_columns()).chain(affine);
    let mut table = Table::new(format!("filters of {name}"), columns);
    for row in rows {
        let facts = [row.bias, row.norm_scale, row.norm_shift].map(Cell::from);
        table.push([row.filter.into()].into_iter().chain(weight(&row.weight)).chain(facts));
    }
    table
}

/// What is told of weights, as [`weight`] fills it in.
fn weight_columns() -> [Column; 8] {
    [
        Column::from("mean"),
        Column::from("std"),
        Column::new("abs_mean", "|w| mean"),
        Column::new("abs_max", "|w| max"),
        Column::new("l1", "L1"),
        Column::new("l2", "L2"),
        Column::from("zeros"),
        Column::new("near_zeros", "near 0"),
    ]
}

fn weight(weight: &Statistics) -> [Cell; 8] {
    let figures = [weight.mean, weight.std, weight.abs_mean, weight.abs_max, weight.l1, weight.l2];
    let [mean, std, abs_mean, abs_max, l1, l2] = figures.map(Cell::Float);
    [mean, std, abs_mean, abs_max, l1, l2, Cell::Percent(weight.zeros), Cell::Percent(weight.near_zeros)]
}
