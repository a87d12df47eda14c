//! Tables and pictures of sensitivity scans.

use std::path::Path;

use crate::prune::{Correlation, Scan, ScanMetric, ScanUnit};
use crate::report::{
    cell::Cell,
    error::Result,
    heat_map::{HeatMap, plot_heat_map},
    table::{Column, Table},
};

/// A row for each group with a column for each ratio, or a row for each channel: how much worse it is without.
pub fn scan(scan: &Scan) -> Table {
    let mut columns = vec![Column::from("group")];
    match scan.options.unit {
        ScanUnit::Group => {
            columns.push("channels".into());
            columns.extend(scan.options.ratios.iter().map(|ratio| Column::from(ratio.to_string().as_str())));
        }
        ScanUnit::Channel => columns.extend([Column::from("channel"), Column::new("drop", worse(scan))]),
    }
    let mut table = Table::new(title(scan), columns);
    for row in &scan.rows {
        match scan.options.unit {
            ScanUnit::Group => {
                let named: [Cell; 2] = [row.group.as_str().into(), row.channels.into()];
                table.push(named.into_iter().chain(row.cells.iter().map(|cell| Cell::Float(cell.drop))));
            }
            ScanUnit::Channel => {
                for cell in &row.cells {
                    let channel = cell.channels.first().copied().into();
                    table.push([row.group.as_str().into(), channel, Cell::Float(cell.drop)]);
                }
            }
        }
    }
    table
}

/// Draws a scan into an `.svg` or `.png` file: groups down, ratios or channels across.
///
/// # Errors
/// A scan without rows, another ending, a file that cannot be written.
pub fn plot_scan(scan: &Scan, path: &Path) -> Result<()> {
    let across = match scan.options.unit {
        ScanUnit::Group => "share of the group's channels that is left out",
        ScanUnit::Channel => "the channel that is left out, in the order of the group's",
    };
    let columns = match scan.options.unit {
        ScanUnit::Group => scan.options.ratios.iter().map(|&ratio| Cell::Percent(ratio).human()).collect(),
        ScanUnit::Channel => {
            (0..scan.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0)).map(|place| place.to_string()).collect()
        }
    };
    let rows = scan.rows.iter().map(|row| (row.group.clone(), row.cells.iter().map(|cell| cell.drop).collect()));
    plot_heat_map(&HeatMap { title: title(scan), across: across.into(), columns, rows: rows.collect() }, path)
}

/// A row for each group: how well a criterion orders its channels.
pub fn correlation(title: &str, rows: &[Correlation]) -> Table {
    let columns = [
        Column::from("group"),
        Column::from("channels").sum(),
        Column::from("spearman").mean(),
        Column::new("magnitude", "of magnitudes").mean(),
    ];
    let mut table = Table::new(title, columns);
    for row in rows {
        table.push([row.group.as_str().into(), row.channels.into(), row.spearman.into(), row.magnitude.into()]);
    }
    table
}

fn worse(scan: &Scan) -> &'static str {
    match scan.options.metric {
        ScanMetric::Loss => "rise of the loss",
        ScanMetric::Map => "fall of mAP50-95",
    }
}

fn title(scan: &Scan) -> String {
    let base = Cell::Float(scan.base).human();
    format!("{}: {} from {base} on {} images of {}", scan.model, worse(scan), scan.images, scan.options.split)
}
