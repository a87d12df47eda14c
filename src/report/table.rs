//! Tables: columns, rows, totals, and what can be done with them.

use super::cell::Cell;
use super::error::{Error, Result};

/// Rows of typed cells under named columns: what every function that reports returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    totals: Option<Vec<Cell>>,
}

/// A column's names and how its total is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The name in scripts and files: lower case, an identifier (`macs_share`).
    pub name: String,
    /// The name over the column when shown (`MACs %`).
    pub heading: String,
    /// What stands in the totals row.
    pub aggregate: Aggregate,
}

/// How a column is summed up in the totals row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// Not at all.
    #[default]
    None,
    /// The sum, in the unit of the column's cells.
    Sum,
    /// The mean of the cells that are numbers.
    Mean,
}

/// Which end comes first in [`Table::sort`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Numbers from the largest down, words from A to Z: what one mostly wants to see first.
    #[default]
    Notable,
    /// The smallest, or A, first.
    Ascending,
    /// The largest, or Z, first.
    Descending,
}

impl Column {
    /// A column without a total.
    pub fn new(name: impl Into<String>, heading: impl Into<String>) -> Self {
        Self { name: name.into(), heading: heading.into(), aggregate: Aggregate::None }
    }

    /// The same, with the sum of its cells in the totals row.
    pub fn sum(self) -> Self {
        Self { aggregate: Aggregate::Sum, ..self }
    }

    /// The same, with the mean of its cells in the totals row.
    pub fn mean(self) -> Self {
        Self { aggregate: Aggregate::Mean, ..self }
    }
}

impl From<(&str, &str)> for Column {
    fn from((name, heading): (&str, &str)) -> Self {
        Self::new(name, heading)
    }
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::new(name, name.replace('_', " "))
    }
}

impl Table {
    /// An empty table.
    pub fn new<C: Into<Column>>(title: impl Into<String>, columns: impl IntoIterator<Item = C>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { title: title.into(), columns, rows: Vec::new(), totals: None }
    }

    /// Appends a row, one cell a column.
    ///
    /// # Panics
    /// If there are more or fewer cells than columns: a mistake of the program, not of its user.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a row of \"{}\" must have one cell a column", self.title);
        self.rows.push(row);
    }

    /// Sets a totals row that is not the sum or mean of the rows, such as the figures over all classes. Views with
    /// fewer rows ([`filter`](Self::filter), [`top`](Self::top)) lose it.
    ///
    /// # Panics
    /// If there are more or fewer cells than columns.
    pub fn set_totals(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "the totals of \"{}\" must have one cell a column", self.title);
        self.totals = Some(row);
    }

    /// What the table is about.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The columns, from left to right.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The rows, from top to bottom; each has one cell a column.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// The number of rows, totals not counted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A row by index, negative ones from the end.
    pub fn row(&self, index: i64) -> Result<&[Cell]> {
        let place = if index < 0 { index + self.rows.len() as i64 } else { index };
        let row = usize::try_from(place).ok().and_then(|place| self.rows.get(place));
        row.map(Vec::as_slice).ok_or(Error::NoSuchRow { index, rows: self.rows.len() })
    }

    /// All cells of a column.
    pub fn column(&self, name: &str) -> Result<Vec<&Cell>> {
        let at = self.position(name)?;
        Ok(self.rows.iter().map(|row| &row[at]).collect())
    }

    /// The cell at a row (negative ones from the end) and column.
    pub fn get(&self, row: i64, column: &str) -> Result<&Cell> {
        Ok(&self.row(row)?[self.position(column)?])
    }

    /// Where the column of this name is.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column.name == name).ok_or_else(|| Error::UnknownColumn {
            name: name.into(),
            columns: self.columns.iter().map(|column| column.name.clone()).collect(),
        })
    }

    /// The totals row, one cell a column, if any column has a total.
    pub fn totals(&self) -> Option<Vec<Cell>> {
        if let Some(totals) = &self.totals {
            return Some(totals.clone());
        }
        if self.rows.is_empty() || self.columns.iter().all(|column| column.aggregate == Aggregate::None) {
            return None;
        }
        let mut totals: Vec<Cell> = (0..self.columns.len()).map(|at| self.aggregate(at)).collect();
        if self.columns[0].aggregate == Aggregate::None {
            totals[0] = Cell::text("total");
        }
        Some(totals)
    }

    /// The rows sorted by a column; equal ones keep their order, missing values come last.
    pub fn sort(&self, name: &str, order: Order) -> Result<Self> {
        let at = self.position(name)?;
        let mut sorted = self.clone();
        let last = |cell: &Cell| matches!(cell, Cell::Missing) || cell.number().is_some_and(f64::is_nan);
        sorted.rows.sort_by(|a, b| {
            let (a, b) = (&a[at], &b[at]);
            let forwards = match order {
                Order::Ascending => true,
                Order::Descending => false,
                Order::Notable => a.number().or(b.number()).is_none(),
            };
            if forwards || last(a) || last(b) { a.compare(b) } else { b.compare(a) }
        });
        Ok(sorted)
    }

    /// The rows for which `keep` says yes; the first error ends it.
    pub fn filter<E>(&self, mut keep: impl FnMut(&[Cell]) -> Result<bool, E>) -> Result<Self, E> {
        let mut rows = Vec::new();
        for row in &self.rows {
            if keep(row)? {
                rows.push(row.clone());
            }
        }
        Ok(self.with_rows(rows))
    }

    /// The first `n` rows.
    pub fn top(&self, n: usize) -> Self {
        self.with_rows(self.rows.iter().take(n).cloned().collect())
    }

    /// These columns only, in this order.
    pub fn select(&self, names: &[&str]) -> Result<Self> {
        let places = names.iter().map(|name| self.position(name)).collect::<Result<Vec<_>>>()?;
        let pick = |row: &Vec<Cell>| places.iter().map(|&at| row[at].clone()).collect::<Vec<_>>();
        Ok(Self {
            title: self.title.clone(),
            columns: places.iter().map(|&at| self.columns[at].clone()).collect(),
            rows: self.rows.iter().map(pick).collect(),
            totals: self.totals.as_ref().map(pick),
        })
    }

    fn with_rows(&self, rows: Vec<Vec<Cell>>) -> Self {
        let totals = if rows.len() == self.rows.len() { self.totals.clone() } else { None };
        Self { title: self.title.clone(), columns: self.columns.clone(), rows, totals }
    }

    fn aggregate(&self, at: usize) -> Cell {
        let cells = self.rows.iter().map(|row| &row[at]);
        let numbers: Vec<f64> = cells.clone().filter_map(Cell::number).collect();
        let whole = || {
            cells.clone().filter_map(|cell| match cell {
                Cell::Int(value) => u64::try_from(*value).ok(),
                Cell::Count(value) | Cell::Bytes(value) => Some(*value),
                _ => None,
            })
        };
        let like = cells.clone().find(|cell| cell.number().is_some());
        match (self.columns[at].aggregate, like) {
            (Aggregate::None, _) | (_, None) => Cell::Missing,
            (Aggregate::Sum, Some(Cell::Count(_))) => Cell::Count(whole().sum()),
            (Aggregate::Sum, Some(Cell::Bytes(_))) => Cell::Bytes(whole().sum()),
            (Aggregate::Sum, Some(Cell::Int(_))) => Cell::Int(numbers.iter().sum::<f64>() as i64),
            (Aggregate::Sum, Some(Cell::Percent(_))) => Cell::Percent(numbers.iter().sum()),
            (Aggregate::Sum, Some(Cell::Seconds(_))) => Cell::Seconds(numbers.iter().sum()),
            (Aggregate::Sum, Some(_)) => Cell::Float(numbers.iter().sum()),
            (Aggregate::Mean, Some(like)) => {
                let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
                match like {
                    Cell::Percent(_) => Cell::Percent(mean),
                    Cell::Seconds(_) => Cell::Seconds(mean),
                    _ => Cell::Float(mean),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Table {
        let columns =
            [Column::new("layer", "layer"), Column::new("macs", "MACs").sum(), Column::new("zeros", "zeros").mean()];
        let mut table = Table::new("net", columns);
        table.push(["a".into(), Cell::Count(10), Cell::Percent(0.5)]);
        table.push(["b".into(), Cell::Missing, Cell::Missing]);
        table.push(["c".into(), Cell::Count(30), Cell::Percent(0.25)]);
        table
    }

    fn names(table: &Table) -> Vec<String> {
        table.column("layer").unwrap().iter().map(|cell| cell.plain()).collect()
    }

    #[test]
    fn sorts_with_missing_last() {
        let table = layers();
        assert_eq!(names(&table.sort("macs", Order::Notable).unwrap()), ["c", "a", "b"]);
        assert_eq!(names(&table.sort("macs", Order::Ascending).unwrap()), ["a", "c", "b"]);
        assert_eq!(names(&table.sort("layer", Order::Notable).unwrap()), ["a", "b", "c"]);
        assert_eq!(names(&table.sort("layer", Order::Descending).unwrap()), ["c", "b", "a"]);
    }

    #[test]
    fn totals_follow_the_rows() {
        let table = layers();
        assert_eq!(table.totals().unwrap(), ["total".into(), Cell::Count(40), Cell::Percent(0.375)]);
        let top = table.sort("macs", Order::Notable).unwrap().top(1);
        assert_eq!(top.totals().unwrap()[1], Cell::Count(30));
        let none = table.filter::<Error>(|_| Ok(false)).unwrap();
        assert!(none.is_empty() && none.totals().is_none());
    }

    #[test]
    fn fixed_totals_last_while_all_rows_do() {
        let mut table = layers();
        table.set_totals(["all".into(), Cell::Count(1), Cell::Missing]);
        assert_eq!(table.sort("macs", Order::Notable).unwrap().totals().unwrap()[0], "all".into());
        assert_eq!(table.select(&["macs"]).unwrap().totals().unwrap(), [Cell::Count(1)]);
        assert_eq!(table.top(2).totals().unwrap()[0], "total".into());
    }

    #[test]
    fn misspelt_column_and_row_out_of_range_are_named() {
        let error = layers().column("mac").unwrap_err().to_string();
        assert!(error.contains("did you mean \"macs\"?") && error.contains("layer, macs, zeros"), "{error}");
        assert_eq!(layers().get(-1, "layer").unwrap(), &Cell::from("c"));
        assert!(layers().row(3).unwrap_err().to_string().contains("3 rows"));
        assert!(layers().row(-4).is_err());
    }
}
