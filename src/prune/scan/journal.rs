//! The journal of a scan: a line for each finished piece of work, so that it goes on where it was interrupted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{super::scan_error::ScanError, record::Record};

/// The journal's name in its folder.
pub(super) const NAME: &str = "scan.jsonl";

/// What was kept, by batch and piece of work: the network as it is, then the groups.
pub(super) type Records = BTreeMap<(usize, usize), Vec<Record>>;

/// A journal, to be added to.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

#[derive(Serialize, Deserialize)]
struct Line {
    batch: usize,
    unit: usize,
    records: Vec<Record>,
}

impl Journal {
    /// Begins a journal in a folder, or goes on with the one that is there: gives what it holds. `header` says what is
    /// scanned, and how; `cells[unit]` is how many records a piece of work has. A line that was cut off is dropped.
    ///
    /// # Errors
    /// A folder that cannot be written to, a journal of another scan, or a file that is none.
    pub(super) fn open(folder: &Path, header: &Value, cells: &[usize]) -> Result<(Self, Records), ScanError> {
        let path = folder.join(NAME);
        let failed = |what| {
            let path = path.clone();
            move |source| ScanError::File { path, what, source }
        };
        fs::create_dir_all(folder).map_err(failed("created"))?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("opened"))?;
        file.try_lock().map_err(|error| ScanError::Content {
            path: path.clone(),
            reason: format!("another scan is writing it ({error})"),
        })?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(failed("read"))?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let lines = bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let records = read(lines, header, cells, &path)?;
        file.set_len(whole as u64).map_err(failed("written"))?;
        file.seek(SeekFrom::Start(whole as u64)).map_err(failed("written"))?;
        let mut journal = Self { path, file };
        if whole == 0 {
            journal.write(header)?;
        }
        Ok((journal, records))
    }

    /// Adds a finished piece of work; it is on the disk when this returns.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn add(&mut self, (batch, unit): (usize, usize), records: &[Record]) -> Result<(), ScanError> {
        self.write(&Line { batch, unit, records: records.to_vec() })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), ScanError> {
        let text = serde_json::to_string(line).map_err(io::Error::from);
        let written = text.and_then(|text| {
            self.file.write_all((text + "\n").as_bytes())?;
            self.file.sync_data()
        });
        written.map_err(|source| ScanError::File { path: self.path.clone(), what: "written", source })
    }
}

fn read<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    header: &Value,
    cells: &[usize],
    path: &Path,
) -> Result<Records, ScanError> {
    let content = |reason: String| ScanError::Content { path: path.to_owned(), reason };
    let mut records = Records::new();
    for (number, line) in lines.enumerate() {
        if number == 0 {
            let found: Value = serde_json::from_slice(line)
                .map_err(|error| content(format!("it is no journal of a scan: {error}")))?;
            if let Some((what, journal, given)) = difference(&found, header) {
                return Err(ScanError::OtherScan { path: path.to_owned(), what, journal, given });
            }
            continue;
        }
        let damaged = |why: String| content(format!("line {} is damaged ({why}); remove it, or the file", number + 1));
        let Line { batch, unit, records: found } =
            serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
        match cells.get(unit) {
            Some(&expected) if expected == found.len() => records.insert((batch, unit), found),
            _ => return Err(damaged(format!("{} results for piece {unit}", found.len()))),
        };
    }
    Ok(records)
}

/// The first thing in which two headers differ: its name, and both values.
fn difference(found: &Value, given: &Value) -> Option<(String, String, String)> {
    let (Value::Object(found_map), Value::Object(given_map)) = (found, given) else {
        return (found != given).then(|| (String::new(), found.to_string(), given.to_string()));
    };
    let keys = given_map.keys().chain(found_map.keys().filter(|key| !given_map.contains_key(*key)));
    keys.filter_map(|key| {
        let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        let (inner, found, given) = difference(&side(found_map), &side(given_map))?;
        Some((if inner.is_empty() { key.clone() } else { inner }, found, given))
    })
    .next()
}
