//! Tables as JSON and CSV.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::cell::Cell;
use super::error::Result;
use super::table::Table;
use crate::io::atomic_write;

impl Table {
    /// Title, rows and totals as one JSON value; each row is an object by column name, in full precision.
    pub fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("title".into(), json!(self.title()));
        all.insert("rows".into(), self.json_rows());
        if let Some(totals) = self.totals() {
            all.insert("totals".into(), self.object(&totals));
        }
        Value::Object(all)
    }

    /// The rows alone as a JSON array of objects.
    pub fn json_rows(&self) -> Value {
        self.rows().iter().map(|row| self.object(row)).collect()
    }

    /// Writes the rows (not the totals) as CSV under the column names, in full precision. The file appears whole or
    /// not at all.
    pub fn csv(&self, path: &Path) -> Result<()> {
        let whole = atomic_write(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            writer.write_record(self.columns().iter().map(|column| &column.name))?;
            for row in self.rows() {
                writer.write_record(row.iter().map(Cell::plain))?;
            }
            writer.flush()
        });
        Ok(whole?)
    }

    fn object(&self, row: &[Cell]) -> Value {
        self.columns().iter().zip(row).map(|(column, cell)| (column.name.clone(), cell.json())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Column;

    fn table() -> Table {
        let mut table = Table::new("two", [Column::new("name", "name"), Column::new("share", "share").sum()]);
        table.push(["a, \"b\"".into(), Cell::Percent(0.1)]);
        table.push(["c".into(), Cell::Missing]);
        table
    }

    #[test]
    fn json_keeps_order_and_precision() {
        assert_eq!(
            table().json().to_string(),
            r#"{"title":"two","rows":[{"name":"a, \"b\"","share":0.1},{"name":"c","share":null}],"totals":{"name":"total","share":0.1}}"#
        );
    }

    #[test]
    fn csv_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        table().csv(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name,share\n\"a, \"\"b\"\"\",0.1\nc,\n");
        let error = table().csv(&path.join("u.csv")).unwrap_err().to_string();
        assert!(error.contains("t.csv/u.csv"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain] = ["t.csv", "plain"].map(|name| folder.path().join(name));
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        table().csv(&ours).unwrap();
        std::fs::write(&plain, "").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o640)).unwrap();
        table().csv(&ours).unwrap();
        assert_eq!(mode(&ours), 0o640);
    }
}
