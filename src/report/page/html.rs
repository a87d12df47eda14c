//! A page as data, and the template that writes it.

use std::path::{Path, PathBuf};

use askama::Template;

use crate::io::atomic_write;
use crate::report::{
    cell::Cell,
    error::{Error, Result},
    plot::{Panel, panel_svg},
    table::Table,
};

/// A page of sections. Whatever its texts contain, the template escapes.
#[derive(Debug, Template)]
#[template(path = "page.html")]
pub(super) struct Page {
    pub title: String,
    pub lead: String,
    /// What is told above all sections.
    pub facts: Vec<Fact>,
    pub sections: Vec<Section>,
}

#[derive(Debug)]
pub(super) struct Fact {
    pub name: String,
    pub value: String,
    pub note: String,
}

#[derive(Debug)]
pub(super) struct Section {
    /// The page's own word for it, unique.
    pub id: &'static str,
    pub title: &'static str,
    pub notes: Vec<String>,
    pub parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) enum Part {
    Table(Grid),
    Charts(Vec<Chart>),
    Layers(Layers),
    Confusion(Matrix),
    Gallery(Gallery),
}

/// A table; a folded one shows its caption until somebody opens it.
#[derive(Debug)]
pub(super) struct Grid {
    pub caption: String,
    pub folded: bool,
    pub heads: Vec<Written>,
    pub rows: Vec<Vec<Written>>,
    pub totals: Vec<Written>,
}

/// A cell, or a column's heading, as it is written.
#[derive(Debug)]
pub(super) struct Written {
    pub text: String,
    pub number: bool,
}

#[derive(Debug)]
pub(super) struct Chart {
    pub title: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
    pub svg: String,
}

/// Layers before and after.
#[derive(Debug)]
pub(super) struct Layers {
    pub caption: String,
    pub rows: Vec<LayerRow>,
}

#[derive(Debug)]
pub(super) struct LayerRow {
    pub name: String,
    pub changes: Vec<Change>,
}

#[derive(Debug)]
pub(super) struct Change {
    pub before: String,
    pub after: String,
    pub same: bool,
    /// What is left, in per cent.
    pub share: u32,
}

#[derive(Debug)]
pub(super) struct Matrix {
    pub caption: String,
    pub names: Vec<String>,
    pub rows: Vec<MatrixRow>,
}

#[derive(Debug)]
pub(super) struct MatrixRow {
    pub name: String,
    pub cells: Vec<MatrixCell>,
}

#[derive(Debug)]
pub(super) struct MatrixCell {
    pub count: usize,
    /// Of its column, in per cent.
    pub share: u32,
}

#[derive(Debug)]
pub(super) struct Gallery {
    pub legend: Vec<LegendEntry>,
    pub images: Vec<Shown>,
}

#[derive(Debug)]
pub(super) struct LegendEntry {
    pub name: String,
    /// As CSS writes it.
    pub colour: String,
}

/// One image with its boxes, seen several ways.
#[derive(Debug)]
pub(super) struct Shown {
    pub name: String,
    pub note: String,
    pub views: Vec<View>,
}

#[derive(Debug)]
pub(super) struct View {
    pub title: String,
    pub alt: String,
    /// A JPEG file in base64.
    pub data: String,
    pub size: (u32, u32),
}

impl Page {
    /// Writes it as `report.html` into a folder, which is made where it is not there: HTML that is well-formed XML too. Gives
    /// the file.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let html = self.render().map_err(|error| Error::Page { message: error.to_string() })?;
        let path = folder.join("report.html");
        atomic_write(&path, |file| file.write_all(html.as_bytes()))?;
        Ok(path)
    }
}

impl Fact {
    pub fn new(name: &str, value: String, note: impl Into<String>) -> Self {
        Self { name: name.into(), value, note: note.into() }
    }
}

impl Grid {
    /// A table as it would be shown.
    pub fn of(table: &Table, folded: bool) -> Self {
        let written = |cell: &Cell| Written { text: cell.human(), number: cell.number().is_some() };
        let numeric = |at: usize| table.rows().iter().any(|row| row[at].number().is_some());
        let heads = table.columns().iter().enumerate();
        Self {
            caption: table.title().to_owned(),
            folded,
            heads: heads.map(|(at, head)| Written { text: head.heading.clone(), number: numeric(at) }).collect(),
            rows: table.rows().iter().map(|row| row.iter().map(written).collect()).collect(),
            totals: table.totals().iter().flatten().map(written).collect(),
        }
    }
}

/// The panels that have something to show.
pub(super) fn charts(panels: &[Panel]) -> Result<Vec<Chart>> {
    let chart = |panel: &Panel| {
        let Some(svg) = panel_svg(panel)? else { return Ok(None) };
        Ok(Some(Chart { title: panel.title.clone(), alt: described(panel), svg }))
    };
    panels.iter().filter_map(|panel| chart(panel).transpose()).collect()
}

/// What a chart shows, in words: each line's first and last value.
fn described(panel: &Panel) -> String {
    let number = |value: f64| Cell::Float(value).human();
    let line = |series: &crate::report::plot::Series| {
        let points: Vec<(f64, f64)> = series.finite().collect();
        let (first, last) = (points.first()?, points.last()?);
        Some(format!("{} from {} to {}", series.name, number(first.1), number(last.1)))
    };
    let lines: Vec<String> = panel.series.iter().filter_map(line).collect();
    format!("{} over {}: {}", panel.title, panel.x, lines.join("; "))
}
