//! What runs came to, and that of all seeds together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::grid::{Job, Settings};
use crate::{model::ModelError, train::Run};

/// Numbers by name. What is not finite is left out.
pub type Figures = BTreeMap<String, f64>;

/// A run that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The run.
    #[serde(flatten)]
    pub job: Job,
    /// What it came to, or why it failed.
    pub result: Result<Figures, String>,
}

/// Mean and standard deviation of a figure over the seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a sample; 0 for one.
    pub sd: f64,
}

/// All runs of the same settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Their settings.
    pub settings: Settings,
    /// Each figure over the runs that have it.
    pub figures: BTreeMap<String, Statistic>,
    /// How many runs ended well.
    pub runs: usize,
    /// Why others failed.
    pub errors: Vec<String>,
}

/// What a run of training came to: mAP50 and mAP50-95 of its last validation, MACs (at 640 pixels) and parameters of its model,
/// and its seconds.
///
/// # Errors
/// A model whose cost cannot be counted.
pub fn figures_of(run: &Run) -> Result<Figures, ModelError> {
    let cost = run.last.cost(640)?;
    let mut figures: Figures = [
        ("macs".to_owned(), cost.macs as f64),
        ("params".to_owned(), cost.params as f64),
        ("seconds".to_owned(), run.seconds),
    ]
    .into();
    if let Some(found) = run.history.last().and_then(|epoch| epoch.validation.as_ref()) {
        figures.extend([("map50".to_owned(), found.map50), ("map".to_owned(), found.map)]);
    }
    Ok(figures)
}

/// Outcomes of the same settings joined, in the order of their first run.
pub fn points(outcomes: &[Outcome]) -> Vec<Point> {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by_key(|outcome| outcome.job.index);
    let mut groups: Vec<(&Settings, Vec<&Outcome>)> = Vec::new();
    for outcome in sorted {
        match groups.iter_mut().find(|(settings, _)| **settings == outcome.job.settings) {
            Some((_, group)) => group.push(outcome),
            None => groups.push((&outcome.job.settings, vec![outcome])),
        }
    }
    groups.into_iter().map(|(settings, group)| point(settings, &group)).collect()
}

fn point(settings: &Settings, group: &[&Outcome]) -> Point {
    let good: Vec<&Figures> = group.iter().filter_map(|outcome| outcome.result.as_ref().ok()).collect();
    let mut numbers: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (name, figure) in good.iter().copied().flatten() {
        numbers.entry(name).or_default().push(*figure);
    }
    Point {
        settings: settings.clone(),
        figures: numbers.into_iter().map(|(name, numbers)| (name.clone(), Statistic::of(&numbers))).collect(),
        runs: good.len(),
        errors: group.iter().filter_map(|outcome| outcome.result.clone().err()).collect(),
    }
}

impl Statistic {
    /// Of at least one number.
    fn of(numbers: &[f64]) -> Self {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let sd = if numbers.len() > 1 { (squares / (numbers.len() - 1) as f64).sqrt() } else { 0.0 };
        Self { mean, sd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Value;

    #[test]
    fn seeds_of_the_same_settings_are_joined() {
        let outcome = |index: usize, macs: f64, result: Result<f64, &str>| Outcome {
            job: Job { index, settings: [("macs".into(), Value::Number(macs))].into(), seed: index as u64 % 3 },
            result: result.map(|map| [("map".to_owned(), map)].into()).map_err(String::from),
        };
        // In any order.
        let outcomes = [
            outcome(3, 0.5, Ok(0.6)),
            outcome(0, 0.25, Ok(0.1)),
            outcome(2, 0.25, Ok(0.3)),
            outcome(1, 0.25, Err("no memory")),
        ];
        let found = points(&outcomes);
        assert_eq!(found.len(), 2);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        near(found[0].figures["map"].mean, 0.2);
        near(found[0].figures["map"].sd, 0.02f64.sqrt());
        assert_eq!((found[0].runs, &found[0].errors[..]), (2, &["no memory".to_owned()][..]));
        assert_eq!((found[1].figures["map"], found[1].runs), (Statistic { mean: 0.6, sd: 0.0 }, 1));
        // What is written is what is read.
        for outcome in outcomes {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        }
    }
}
