//! Tables as text.

use comfy_table::{Attribute, CellAlignment, ContentArrangement, LineStyle, Row, TableStyle};

use super::cell::Cell;
use super::table::Table;

/// Where a table is shown: how wide, and whether with bold headings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Columns of the terminal; `None` is as wide as it takes (a file, a pipe).
    pub width: Option<u16>,
    /// Whether the terminal understands escape sequences.
    pub styled: bool,
}

/// Horizontal rules only: numbers aligned to the right need no bars between them.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// How narrow a column of words may be wrapped before a column is left out instead.
const NARROWEST_WORDS: u16 = 16;

impl Table {
    /// The table as text: title, headings, rows, totals. Where it is too wide, long words wrap; then columns are left
    /// out from the right, and the last line names them.
    pub fn render(&self, view: View) -> String {
        let mut text = if self.title().is_empty() { String::new() } else { format!("{}\n", self.title()) };
        let shown = self.fitting(view);
        let mut table = self.layout(shown, view);
        if let Some(width) = view.width {
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
        }
        let totals = self.totals().map(|totals| {
            let blank = |cell: &Cell| if *cell == Cell::Missing { String::new() } else { cell.human() };
            let mut row =
                Row::from(totals[..shown].iter().map(|cell| bold(&blank(cell), view.styled)).collect::<Vec<_>>());
            row.max_height(1);
            row
        });
        let has_totals = totals.is_some();
        table.add_rows(totals);
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        let rule = lines.iter().find(|line| line.starts_with('─')).cloned().unwrap_or_default();
        for (at, line) in lines.iter().enumerate() {
            if has_totals && at + 1 == lines.len() {
                text += &format!("{rule}\n");
            }
            text += &format!("{line}\n");
        }
        if self.is_empty() {
            text += " (no rows)\n";
        }
        if shown < self.columns().len() {
            let names: Vec<&str> = self.columns()[shown..].iter().map(|column| column.name.as_str()).collect();
            text += &format!(" not shown for want of width: {}\n", names.join(", "));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// How many columns, from the left, fit.
    fn fitting(&self, view: View) -> usize {
        let all = self.columns().len();
        let Some(width) = view.width else { return all };
        let widths = self.layout(all, view).column_max_content_widths();
        let totals = self.totals();
        let mut used = 0u32;
        for (at, &natural) in widths.iter().enumerate() {
            let total = totals.as_ref().map_or(0, |totals| totals[at].human().chars().count() as u16);
            let words = self.rows().iter().any(|row| matches!(row[at], Cell::Text(_)));
            let least = if words { natural.min(NARROWEST_WORDS) } else { natural.max(total) };
            used += u32::from(least) + 2;
            if used > u32::from(width) {
                return at.max(1);
            }
        }
        all
    }

    fn layout(&self, shown: usize, view: View) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE).force_no_tty();
        if view.styled {
            table.enforce_styling();
        }
        table.set_header(
            self.columns()[..shown].iter().map(|column| bold(&column.heading, view.styled)).collect::<Vec<_>>(),
        );
        table.add_rows(self.rows().iter().map(|row| row[..shown].iter().map(Cell::human).collect::<Vec<_>>()));
        for (at, column) in table.column_iter_mut().enumerate() {
            let any = |is: fn(&Cell) -> bool| self.rows().iter().any(|row| is(&row[at]));
            let numbers = any(|cell| cell.number().is_some()) && !any(|cell| matches!(cell, Cell::Text(_)));
            column.set_cell_alignment(if numbers { CellAlignment::Right } else { CellAlignment::Left });
        }
        table
    }
}

fn bold(text: &str, styled: bool) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(text);
    if styled { cell.add_attribute(Attribute::Bold) } else { cell }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(View::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Column;

    fn table() -> Table {
        let mut table = Table::new(
            "a net",
            [Column::new("layer", "layer"), Column::new("params", "parameters").sum(), Column::new("std", "std")],
        );
        table.push(["model.0.conv".into(), Cell::Count(1_760), Cell::Float(0.123_456)]);
        table.push(["model.1.conv".into(), Cell::Count(4_672_000), Cell::Missing]);
        table
    }

    #[test]
    fn looks_like_this() {
        insta::assert_snapshot!(table().render(View::default()), @"
        a net
         layer         parameters     std
        ──────────────────────────────────
         model.0.conv        1760  0.1235
         model.1.conv      4.67 M       ·
        ──────────────────────────────────
         total             4.67 M
        ");
    }

    #[test]
    fn fits_the_width_and_says_what_it_left_out() {
        let text = table().render(View { width: Some(30), styled: false });
        assert!(text.lines().all(|line| line.starts_with(" not shown") || line.chars().count() <= 30), "{text}");
        assert!(text.ends_with("not shown for want of width: std"), "{text}");
        let wide = table().render(View { width: Some(200), styled: false });
        assert!(!wide.contains("not shown"), "{wide}");
    }

    #[test]
    fn an_empty_table_says_so() {
        assert!(Table::new("t", ["a"]).render(View::default()).ends_with("(no rows)"));
    }
}
