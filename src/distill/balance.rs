//! Scaling terms by what they come to at first, so that each is a share of the detection loss.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::train::{
    DetectionTerm, EpochContext, Flow, Hook, HookError, HookState, LossGradients, Term, TermError, TermInput,
};

/// Steps over which terms are measured.
const STEPS: u64 = 20;

/// What each term is multiplied by to be a share of the detection loss. In its first [`STEPS`] steps a term's factor
/// follows the sums of both so far; then it stays.
pub(super) struct Balance {
    /// The balanced terms' columns, and the shares of the detection loss that they come to.
    shares: Vec<(String, f64)>,
    state: Mutex<State>,
}

struct State {
    /// The detection loss of the present step.
    detection: f64,
    terms: Vec<Measured>,
}

/// A term so far.
#[derive(Clone, Copy, Default)]
struct Measured {
    steps: u64,
    /// Sums over those steps.
    detection: f64,
    term: f64,
}

impl Measured {
    /// What makes it this share of the detection loss.
    fn factor(&self, share: f64) -> f64 {
        let factor = share * self.detection / self.term;
        // A term that is zero has nothing to be scaled.
        if factor.is_finite() && factor > 0.0 { factor } else { 1.0 }
    }
}

impl Balance {
    /// For terms of these columns and shares.
    pub fn new(shares: Vec<(String, f64)>) -> Self {
        let terms = vec![Measured::default(); shares.len()];
        Self { shares, state: Mutex::new(State { detection: 0.0, terms }) }
    }

    /// What a term is multiplied by that comes to `value` in this step.
    pub fn factor(&self, place: usize, value: f64) -> f64 {
        let mut state = self.state();
        let detection = state.detection;
        let measured = &mut state.terms[place];
        if measured.steps < STEPS && detection.is_finite() && value.is_finite() {
            measured.steps += 1;
            measured.detection += detection;
            measured.term += value;
        }
        measured.factor(self.shares[place].1)
    }

    /// The factors in words, once all terms have been measured.
    fn shown(&self) -> Option<String> {
        let state = self.state();
        let all = state.terms.iter().all(|measured| measured.steps == STEPS);
        let factor =
            |((name, share), measured): (&(String, f64), &Measured)| format!("{name} × {:.4}", measured.factor(*share));
        all.then(|| self.shares.iter().zip(&state.terms).map(factor).collect::<Vec<_>>().join(", "))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What another thread has left half done is a sum at most.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The detection loss, which tells the balance what it came to. It is computed before all other terms.
pub(super) struct Weighed {
    pub term: DetectionTerm,
    pub balance: Arc<Balance>,
}

impl Term for Weighed {
    fn part_names(&self) -> Vec<String> {
        self.term.part_names()
    }

    fn settings(&self) -> Value {
        self.term.settings()
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let parts = self.term.compute(input, gradients)?;
        self.balance.state().detection = parts.iter().sum();
        Ok(parts)
    }
}

/// Keeps a balance in checkpoints and shows its factors.
pub(super) struct Keeper {
    pub balance: Arc<Balance>,
    pub shown: bool,
}

impl Hook for Keeper {
    fn name(&self) -> &str {
        "distill_balance"
    }

    fn after_epoch(&mut self, epoch: &mut EpochContext<'_>) -> Result<Flow, HookError> {
        if let Some(factors) = self.balance.shown().filter(|_| !self.shown) {
            epoch.notes.push(format!("balanced: {factors}"));
            self.shown = true;
        }
        Ok(Flow::Continue)
    }

    /// The sums, by their bits, so that nothing is lost.
    fn state(&self) -> Result<HookState, HookError> {
        let state = self.balance.state();
        let term = |measured: &Measured| [measured.steps, measured.detection.to_bits(), measured.term.to_bits()];
        let terms: Vec<[u64; 3]> = state.terms.iter().map(term).collect();
        Ok(HookState { values: json!({ "terms": terms, "shown": self.shown }), ..HookState::default() })
    }

    fn restore(&mut self, state: HookState) -> Result<(), HookError> {
        let terms: Vec<[u64; 3]> = serde_json::from_value(state.values["terms"].clone())?;
        let mut own = self.balance.state();
        if terms.len() != own.terms.len() {
            return Err(format!("a balance of {} terms, not of {}", terms.len(), own.terms.len()).into());
        }
        let term = |[steps, detection, term]: [u64; 3]| Measured {
            steps,
            detection: f64::from_bits(detection),
            term: f64::from_bits(term),
        };
        own.terms = terms.into_iter().map(term).collect();
        self.shown = state.values["shown"].as_bool().unwrap_or(false);
        Ok(())
    }
}
