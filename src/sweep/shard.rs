//! Which of a sweep's runs a process makes.

use super::error::SweepError;

/// A part of a sweep: every `of`-th run from `number` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Shard {
    /// All runs.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// `"2/8"`, or `"slurm"`: by what `variable` says of the job array that the process is part of.
    ///
    /// # Errors
    /// Any other text, and variables that are not those of a job array.
    pub fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, SweepError> {
        if text == "slurm" {
            return Self::of_slurm(variable);
        }
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(SweepError::Shard(text.to_owned())),
        }
    }

    /// Tasks of an array are numbered from any number on, in steps (`--array=3-9:2`).
    fn of_slurm(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SweepError> {
        let read = |name: &'static str| -> Result<usize, SweepError> {
            let found = |found: String| SweepError::Slurm { variable: name, found };
            let text = variable(name).ok_or_else(|| found("is not set".into()))?;
            text.parse().map_err(|_| found(format!("is {text:?}")))
        };
        let (id, first, of) = (read(TASK)?, read("SLURM_ARRAY_TASK_MIN")?, read("SLURM_ARRAY_TASK_COUNT")?);
        let step = match variable("SLURM_ARRAY_TASK_STEP") {
            Some(_) => read("SLURM_ARRAY_TASK_STEP")?.max(1),
            None => 1,
        };
        let number = id.checked_sub(first).map(|after| after / step + 1).filter(|number| *number <= of);
        let outside = || SweepError::Slurm { variable: TASK, found: format!("is {id}, outside of the array") };
        Ok(Self { number: number.ok_or_else(outside)?, of })
    }

    /// Whether a run of this index is in it.
    pub fn has(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

const TASK: &str = "SLURM_ARRAY_TASK_ID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_runs_among_them() {
        let read = |text: &str| Shard::read(text, |_| None);
        for of in 1..5 {
            let shards: Vec<Shard> = (1..=of).map(|number| read(&format!("{number}/{of}")).unwrap()).collect();
            assert!((0..20).all(|index| shards.iter().filter(|shard| shard.has(index)).count() == 1));
        }
        assert!(read("1/1").unwrap() == Shard::WHOLE);
        for wrong in ["0/2", "3/2", "2", "a/b", "", "1/0"] {
            assert!(read(wrong).unwrap_err().to_string().contains("\"2/8\""), "{wrong}");
        }
    }

    #[test]
    fn a_task_of_a_job_array_is_a_shard() {
        let array = |id: &str, first: &str, step: &str, count: &str| {
            let all = [(TASK, id), ("SLURM_ARRAY_TASK_MIN", first), ("SLURM_ARRAY_TASK_STEP", step)];
            let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let count = count.to_owned();
            move |name: &str| match name {
                "SLURM_ARRAY_TASK_COUNT" => Some(count.clone()),
                _ => all.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
            }
        };
        let read = |id, first, step, count| Shard::read("slurm", array(id, first, step, count));
        assert_eq!(read("1", "1", "1", "8").unwrap(), Shard { number: 1, of: 8 });
        assert_eq!(read("7", "3", "2", "4").unwrap(), Shard { number: 3, of: 4 });
        assert!(read("9", "1", "1", "8").unwrap_err().to_string().contains("outside of the array"));
        assert!(read("x", "1", "1", "8").unwrap_err().to_string().contains("SLURM_ARRAY_TASK_ID is \"x\""));
        let alone = Shard::read("slurm", |_| None).unwrap_err().to_string();
        assert!(alone.contains("SLURM_ARRAY_TASK_ID is not set") && alone.contains("sbatch"), "{alone}");
    }
}
