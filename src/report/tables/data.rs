//! Tables of datasets.

use crate::data::Dataset;
use crate::report::{
    cell::Cell,
    table::{Column, Table},
};

/// A row for each split: images, boxes of every class, sizes.
pub fn dataset_summary(dataset: &Dataset) -> Table {
    let mut columns = vec![
        Column::from("split"),
        Column::from("images").sum(),
        Column::from("background").sum(),
        Column::from("unlabelled").sum(),
        Column::from("boxes").sum(),
    ];
    // A column a class where they are few enough to be seen.
    let classes = if dataset.names.len() <= MOST_CLASSES { dataset.names.as_slice() } else { &[] };
    columns.extend(classes.iter().map(|name| Column::new(name, name).sum()));
    columns.extend([
        Column::new("box_size", "box px"),
        Column::new("smallest", "smallest"),
        Column::new("largest", "largest"),
        Column::new("problems", "problems").sum(),
    ]);
    let mut table = Table::new(format!("{} · {} classes", dataset.name, dataset.names.len()), columns);
    for split in dataset.summary() {
        let mut row: Vec<Cell> = vec![
            split.split.into(),
            Cell::count(split.images),
            Cell::count(split.background),
            Cell::count(split.unlabelled),
            Cell::count(split.boxes),
        ];
        if !classes.is_empty() {
            row.extend(split.classes.iter().map(|&(_, boxes)| Cell::count(boxes)));
        }
        let size = |(width, height)| Cell::text(format!("{width}×{height}"));
        row.extend([
            Cell::Int(split.box_size.round() as i64),
            size(split.smallest),
            size(split.largest),
            Cell::count(split.problems),
        ]);
        table.push(row);
    }
    table
}

const MOST_CLASSES: usize = 12;
