//! A sweep's folder: its grid, and a file for each run that was made, so that what was done is never done again, however a
//! process ends and however many work in one folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    error::SweepError,
    grid::{Grid, Job},
    outcome::Outcome,
};
use crate::io::{IoError, load_json, save_json};

/// Where a sweep is kept: in a folder, or in memory alone.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: Option<PathBuf>,
    outcomes: Vec<Outcome>,
}

impl Journal {
    /// That of a folder, which is made where there is none, with what was done there before; without a folder it is in memory.
    ///
    /// # Errors
    /// A folder that holds another sweep or cannot be used, a file in it that is damaged.
    pub fn open(folder: Option<&Path>, grid: &Grid) -> Result<Self, SweepError> {
        let Some(folder) = folder else { return Ok(Self { folder: None, outcomes: Vec::new() }) };
        let path = folder.join(GRID);
        match path.exists() {
            true => {
                if let Some(difference) = grid.difference(&load_json(&path, "grid of a sweep")?) {
                    return Err(SweepError::Other { path: folder.into(), difference });
                }
            }
            false => save_json(&path, grid)?,
        }
        let mut journal = Self { folder: Some(folder.into()), outcomes: Vec::new() };
        journal.refresh()?;
        Ok(journal)
    }

    /// Reads what all processes have done in the folder.
    ///
    /// # Errors
    /// A file that cannot be read or that is damaged.
    pub fn refresh(&mut self) -> Result<(), SweepError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let failed = |source: io::Error| IoError::Read { path: folder.clone(), source };
        let mut outcomes: Vec<Outcome> = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(RUN) && name.ends_with(".json") {
                outcomes.push(load_json(&path, "outcome of a run of a sweep")?);
            }
        }
        outcomes.sort_by_key(|outcome| outcome.job.index);
        self.outcomes = outcomes;
        Ok(())
    }

    /// Whether a run ended well; one that failed is made again.
    pub fn has(&self, job: &Job) -> bool {
        self.outcomes.iter().any(|outcome| outcome.job == *job && outcome.result.is_ok())
    }

    /// Takes what a run came to, in the place of what it came to before.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep(&mut self, outcome: Outcome) -> Result<(), SweepError> {
        if let Some(folder) = &self.folder {
            save_json(&folder.join(format!("{RUN}{:05}.json", outcome.job.index)), &outcome)?;
        }
        self.outcomes.retain(|known| known.job.index != outcome.job.index);
        self.outcomes.push(outcome);
        self.outcomes.sort_by_key(|outcome| outcome.job.index);
        Ok(())
    }

    /// What was done, by the runs' places.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The folder, if there is one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }
}

/// What is tried.
const GRID: &str = "sweep.json";
/// What the files of runs begin with.
const RUN: &str = "run-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Value;

    #[test]
    fn what_was_done_stays_done_whoever_did_it() {
        let values = [("macs".to_owned(), vec![Value::Number(0.25), Value::Number(0.5)])];
        let grid = Grid::new(values.clone().into(), 2).unwrap();
        let (jobs, folder) = (grid.jobs(), tempfile::tempdir().unwrap());
        let path = folder.path().join("a/sweep");
        let good = |job: &Job| Outcome { job: job.clone(), result: Ok([("map".into(), 0.1 + 0.2)].into()) };
        let (mut one, mut other) =
            (Journal::open(Some(&path), &grid).unwrap(), Journal::open(Some(&path), &grid).unwrap());
        one.keep(good(&jobs[1])).unwrap();
        other.keep(Outcome { job: jobs[2].clone(), result: Err("out of memory".into()) }).unwrap();
        assert!(one.has(&jobs[1]) && !one.has(&jobs[2]) && !other.has(&jobs[1]));
        other.refresh().unwrap();
        assert!(other.has(&jobs[1]) && !other.has(&jobs[2]) && other.outcomes().len() == 2);
        // What failed is done again, and then counts.
        other.keep(good(&jobs[2])).unwrap();
        let again = Journal::open(Some(&path), &grid).unwrap();
        assert_eq!(again.outcomes(), [good(&jobs[1]), good(&jobs[2])]);
        // Neither another sweep nor a damaged file is taken for it.
        let another = Grid::new(values.into(), 3).unwrap();
        let error = Journal::open(Some(&path), &another).unwrap_err().to_string();
        assert!(error.contains("2 seeds there, 3 here") && error.contains("another folder"), "{error}");
        fs::write(path.join("run-00003.json"), "{").unwrap();
        let error = Journal::open(Some(&path), &grid).unwrap_err().to_string();
        assert!(error.contains("run-00003.json"), "{error}");
    }
}
