//! Tables in scripts.

use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Dynamic, FnPtr, Map};
use serde_json::Value;

use super::result::ScriptResult;
use super::sweep::PlotOptions;
use crate::report::{Cell, Order, Pareto, Table, View, plot_pareto};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::{Object, short_text};
use crate::script::options::OptionSet;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<Table>().options(&PLOT);
    api.functions(exported_manifest!(functions));
    api.iterator::<Table>(|table| {
        Box::new((0..table.len()).map(move |row| row_map(&table, &table.rows()[row]).into()))
    });
}

static PLOT: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Table>("plot").group::<PlotOptions>());

impl Object for Table {
    const NAME: &'static str = "Table";

    fn show(&self, view: View) -> String {
        self.render(view)
    }

    fn json(&self) -> Value {
        Table::json(self)
    }
}

/// A cell as a script's value.
pub fn value(cell: &Cell) -> Dynamic {
    match cell {
        Cell::Missing => Dynamic::UNIT,
        Cell::Text(text) => text.clone().into(),
        Cell::Flag(flag) => (*flag).into(),
        Cell::Int(value) => (*value).into(),
        Cell::Count(value) | Cell::Bytes(value) => i64::try_from(*value).map_or((*value as f64).into(), Dynamic::from),
        Cell::Float(value) | Cell::Percent(value) | Cell::Seconds(value) => (*value).into(),
    }
}

/// A row as a map by column name.
pub fn row_map(table: &Table, row: &[Cell]) -> Map {
    table.columns().iter().zip(row).map(|(column, cell)| (column.name.as_str().into(), value(cell))).collect()
}

/// A script's value as a cell.
fn cell(value: &Dynamic) -> ScriptResult<Cell> {
    if value.is_unit() {
        return Ok(Cell::Missing);
    }
    let number = value.as_int().map(Cell::from).or_else(|_| value.as_float().map(Cell::from));
    let other = |_| value.as_bool().map(Cell::from).or_else(|_| value.clone().into_string().map(Cell::from));
    number
        .or_else(other)
        .map_err(|found| raise_text(format!("a cell is a number, a text, true, false or (), not a {found}")))
}

#[export_module(manifest)]
mod functions {
    use std::path::Path;

    use rhai::{Array, ImmutableString};

    /// A table of a script's own: names of columns, and for each row an array of numbers, texts, true, false or ().
    #[rhai_fn(return_raw)]
    pub fn table(title: ImmutableString, columns: Array, rows: Array) -> ScriptResult<Table> {
        let names = columns.iter().map(|name| {
            name.clone()
                .into_string()
                .map_err(|found| raise_text(format!("the name of a column is a text, not a {found}")))
        });
        let names: Vec<String> = names.collect::<ScriptResult<_>>()?;
        let mut table = Table::new(title, names.iter().map(String::as_str));
        for (place, row) in rows.iter().enumerate() {
            let cells = row.read_lock::<Array>().map(|row| row.iter().map(cell).collect::<ScriptResult<Vec<_>>>());
            let wrong = || {
                raise_text(format!("row {place} is to be an array of {} cells, not {}", names.len(), short_text(row)))
            };
            let cells = cells.transpose()?.filter(|cells| cells.len() == names.len()).ok_or_else(wrong)?;
            table.push(cells);
        }
        Ok(table)
    }

    /// The rows sorted by a column: numbers from the largest down, words from A to Z. Missing values come last.
    #[rhai_fn(name = "sort", pure, return_raw)]
    pub fn sort(table: &mut Table, column: ImmutableString) -> ScriptResult<Table> {
        table.sort(&column, Order::Notable).map_err(raise)
    }

    /// The rows sorted by a column in the order "ascending" or "descending". Missing values come last.
    #[rhai_fn(name = "sort", pure, return_raw)]
    pub fn sort_in(table: &mut Table, column: ImmutableString, order: ImmutableString) -> ScriptResult<Table> {
        let order = match order.as_str() {
            "ascending" => Order::Ascending,
            "descending" => Order::Descending,
            other => return Err(raise_text(format!("sort takes \"ascending\" or \"descending\", not \"{other}\""))),
        };
        table.sort(&column, order).map_err(raise)
    }

    /// The rows for which the function says true. It is given each row as a map by column name:
    /// `net.layers().filter(|row| row.macs > 1e6)`.
    #[rhai_fn(pure, return_raw)]
    pub fn filter(context: NativeCallContext, table: &mut Table, keep: FnPtr) -> ScriptResult<Table> {
        table.filter(|row| {
            let answer: Dynamic = keep.call_within_context(&context, (row_map(table, row),)).map_err(|error| {
                match error.unwrap_inner() {
                    EvalAltResult::ErrorPropertyNotFound(name, _) => table.position(name).map_or_else(raise, |_| error),
                    _ => error,
                }
            })?;
            answer
                .as_bool()
                .map_err(|kind| raise_text(format!("filter needs a function that gives true or false, not {kind}")))
        })
    }

    /// The first rows.
    #[rhai_fn(pure, return_raw)]
    pub fn top(table: &mut Table, n: i64) -> ScriptResult<Table> {
        let n = usize::try_from(n).map_err(|_| raise_text(format!("top takes a number of rows, not {n}")))?;
        Ok(table.top(n))
    }

    /// These columns only, in this order: `table.select(["layer", "macs"])`.
    #[rhai_fn(pure, return_raw)]
    pub fn select(table: &mut Table, columns: Array) -> ScriptResult<Table> {
        let names: Vec<ImmutableString> = columns
            .into_iter()
            .map(|name| {
                name.into_immutable_string()
                    .map_err(|kind| raise_text(format!("select takes column names, not {kind}")))
            })
            .collect::<ScriptResult<_>>()?;
        table.select(&names.iter().map(|name| name.as_str()).collect::<Vec<_>>()).map_err(raise)
    }

    /// All values of a column, as an array.
    #[rhai_fn(pure, return_raw)]
    pub fn column(table: &mut Table, name: ImmutableString) -> ScriptResult<Array> {
        Ok(table.column(&name).map_err(raise)?.into_iter().map(value).collect())
    }

    /// The names of the columns.
    #[rhai_fn(get = "columns", pure)]
    pub fn columns(table: &mut Table) -> Array {
        table.columns().iter().map(|column| column.name.clone().into()).collect()
    }

    /// The totals, as a map by column name; empty when the table has none.
    #[rhai_fn(get = "totals", pure)]
    pub fn totals(table: &mut Table) -> Map {
        table.totals().map(|totals| row_map(table, &totals)).unwrap_or_default()
    }

    /// Draws a column against another, MACs and mAP50-95 unless given, with the Pareto front, into an `.svg` or `.png` file: a point
    /// for each row that has both, by the name in its first column. A column `map_sd` beside `map` gives error bars.
    #[rhai_fn(name = "plot", pure, return_raw)]
    pub fn plot_rows(
        context: NativeCallContext,
        table: &mut Table,
        path: ImmutableString,
        options: Map,
    ) -> ScriptResult<()> {
        let PlotOptions { x, y } = PLOT.read(options, State::of(&context).seed())?.group();
        let pareto = Pareto::of_table(table, &x, &y).map_err(raise)?;
        plot_pareto(&pareto, Path::new(path.as_str())).map_err(raise)
    }

    /// Writes the rows as CSV, in full precision.
    #[rhai_fn(pure, return_raw)]
    pub fn csv(table: &mut Table, path: ImmutableString) -> ScriptResult<()> {
        table.csv(Path::new(path.as_str())).map_err(raise)
    }

    /// The rows as a JSON array of objects, in full precision.
    #[rhai_fn(pure)]
    pub fn json(table: &mut Table) -> ImmutableString {
        table.json_rows().to_string().into()
    }

    /// The number of rows.
    #[rhai_fn(name = "len", get = "len", pure)]
    pub fn len(table: &mut Table) -> i64 {
        table.len() as i64
    }

    /// A row as a map by column name; negative numbers count from the end.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn row(table: &mut Table, index: i64) -> ScriptResult<Map> {
        table.row(index).map(|row| row_map(table, row)).map_err(raise)
    }

    /// All values of a column, as an array.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn column_at(table: &mut Table, name: ImmutableString) -> ScriptResult<Array> {
        column(table, name)
    }
}
