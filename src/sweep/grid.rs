//! The settings that are tried, every combination of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::SweepError;
use crate::options::Value;

/// Values by name.
pub type Settings = BTreeMap<String, Value>;

/// Values to try by name, every combination of them with each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// The values that each setting takes in turn.
    pub values: BTreeMap<String, Vec<Value>>,
    /// Every combination is run with the seeds 0, 1, …, one less than this.
    pub seeds: u64,
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its place among all runs, from 0.
    pub index: usize,
    /// Its values.
    pub settings: Settings,
    /// Its seed.
    pub seed: u64,
}

impl Grid {
    /// A grid with something in it.
    ///
    /// # Errors
    /// A setting without values.
    pub fn new(values: BTreeMap<String, Vec<Value>>, seeds: u64) -> Result<Self, SweepError> {
        match values.iter().find(|(_, choices)| choices.is_empty()) {
            Some((name, _)) => Err(SweepError::NoValues(name.clone())),
            None => Ok(Self { values, seeds }),
        }
    }

    /// All runs. The last setting by name changes fastest, and the seed first: neighbours are seeds of the same settings.
    pub fn jobs(&self) -> Vec<Job> {
        let mut combinations = vec![Settings::new()];
        for (name, choices) in &self.values {
            let with = |settings: &Settings, value: &Value| {
                let mut settings = settings.clone();
                settings.insert(name.clone(), value.clone());
                settings
            };
            let longer =
                combinations.iter().flat_map(|settings| choices.iter().map(move |value| with(settings, value)));
            combinations = longer.collect();
        }
        let seeded = combinations.iter().flat_map(|settings| (0..self.seeds).map(move |seed| (settings.clone(), seed)));
        seeded.enumerate().map(|(index, (settings, seed))| Job { index, settings, seed }).collect()
    }

    /// What of another grid differs, in words; none where they are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let shown = |choices: Option<&Vec<Value>>| match choices {
            Some(choices) => format!("[{}]", choices.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")),
            None => "nothing".into(),
        };
        let names = self.values.keys().chain(other.values.keys());
        let differs = |name: &&String| self.values.get(*name) != other.values.get(*name);
        let of_values = names.into_iter().find(differs).map(|name| {
            format!("`{name}` is {} there, {} here", shown(other.values.get(name)), shown(self.values.get(name)))
        });
        let of_seeds = || format!("it has {} seeds there, {} here", other.seeds, self.seeds);
        of_values.or_else(|| (self.seeds != other.seeds).then(of_seeds))
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.iter().try_for_each(|(name, value)| write!(f, "{name} {value}, "))?;
        write!(f, "seed {}", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(seeds: u64) -> Grid {
        let values = [("cwd", vec![Value::Number(0.5), Value::Int(1)]), ("kind", vec![Value::Text("a".into())])];
        Grid::new(values.map(|(name, choices)| (name.to_owned(), choices)).into(), seeds).unwrap()
    }

    #[test]
    fn every_combination_runs_with_each_seed() {
        let jobs = grid(2).jobs();
        let shown: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        let expected = ["cwd 0.5, kind \"a\", seed 0", "cwd 0.5, kind \"a\", seed 1", "cwd 1, kind \"a\", seed 0"];
        assert_eq!((&shown[..3], shown.len()), (&expected.map(String::from)[..], 4));
        assert!(jobs.iter().enumerate().all(|(at, job)| job.index == at));
        let empty = Grid::new([("macs".to_owned(), Vec::new())].into(), 1).unwrap_err();
        assert!(empty.to_string().contains("`macs` has none"), "{empty}");
    }

    #[test]
    fn what_differs_between_grids_is_told() {
        assert_eq!(grid(2).difference(&grid(2)), None);
        assert_eq!(grid(2).difference(&grid(3)).unwrap(), "it has 3 seeds there, 2 here");
        let mut other = grid(2);
        other.values.insert("macs".into(), vec![Value::Number(0.5)]);
        assert_eq!(grid(2).difference(&other).unwrap(), "`macs` is [0.5] there, nothing here");
    }
}
