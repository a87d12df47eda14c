//! What can go wrong when pruning.

use std::path::PathBuf;

use thiserror::Error;

use super::{granularity::Granularity, scan_error::ScanError, strategy::Strategy};
use crate::{
    data::DataError, eval::EvalError, exec::ExecError, graph::GraphError, io::IoError, model::ModelError,
    options::OptionError,
};

/// What can go wrong when pruning.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PruneError {
    /// An option out of its range.
    #[error("{0}")]
    Option(#[from] OptionError),
    /// A name that is not on a list.
    #[error("there is no {what} `{found}`; there are {allowed}{hint}")]
    Unknown {
        /// Kind of the name, such as importance.
        what: &'static str,
        /// The name given.
        found: String,
        /// The names there are.
        allowed: String,
        /// What may have been meant, or nothing.
        hint: String,
    },
    /// A pattern that cannot be read.
    #[error("`{pattern}` is not a pattern: {reason}; use * for any characters and ? for one")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name or pattern that fits no convolution.
    #[error("no convolution is named `{name}` or lies in a module of that name{hint}")]
    NoSuchLayer {
        /// The name or pattern.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
    },
    /// What an option says of layers.
    #[error("option \"{key}\": {source}")]
    Of {
        /// The option.
        key: &'static str,
        /// What is wrong with it.
        source: Box<PruneError>,
    },
    /// Two patterns of one option that fit the same layers and say different things.
    #[error(
        "\"{}\" and \"{}\" both fit `{layer}` or what is tied to it, are equally specific, and give different values; \
         make one of them longer", patterns[0], patterns[1]
    )]
    Ambiguous {
        /// The group's layer.
        layer: String,
        /// The patterns.
        patterns: [String; 2],
    },
    /// A target below what the limits allow.
    #[error(
        "cannot keep only {asked:.1} % of the {what}: with these limits at least {least:.1} % stay; ask for more, raise \
         `max_ratio`, lower `min_channels` or `round_to`, or ignore fewer layers"
    )]
    Unreachable {
        /// What was to be kept, such as MACs.
        what: &'static str,
        /// The share asked for, in percent.
        asked: f64,
        /// The least share that can be reached, in percent.
        least: f64,
    },
    /// A target above what single layers were said to leave.
    #[error(
        "cannot keep as much as {asked:.1} % of the {what}: `ratios` alone leave at most {most:.1} %; lower them, or ask \
         for less"
    )]
    Overshot {
        /// What was to be kept, such as MACs.
        what: &'static str,
        /// The share asked for, in percent.
        asked: f64,
        /// The largest share that can be reached, in percent.
        most: f64,
    },
    /// A target between two steps that are far apart.
    #[error(
        "cannot keep {asked:.1} % of the {what}: the nearest plan keeps {nearest:.1} %, because whole channels go in \
         steps of `round_to`; lower it or ask for that"
    )]
    TooCoarse {
        /// What was to be kept, such as MACs.
        what: &'static str,
        /// The share asked for, in percent.
        asked: f64,
        /// The nearest share, in percent.
        nearest: f64,
    },
    /// A share of time asked for on a device that does not say how long single layers take.
    #[error(
        "`latency` needs times of single layers, which only the CPU gives; use `macs`, or prune the model on the CPU with \
         `.to(\"cpu\")`"
    )]
    NoLayerTimes,
    /// A scan that does not say what a group costs.
    #[error(
        "option \"scan\": it does not say what channels of {group} cost; scan all layers with unit \"group\", or ignore that \
         layer"
    )]
    NotScanned {
        /// The group.
        group: String,
    },
    /// An order that a single plan cannot have.
    #[error(
        "order \"layers\" scores each layer anew once those before it are pruned and tuned, which a single plan cannot; use \
         `gradual`, or order \"lowest\""
    )]
    LayersAtOnce,
    /// A criterion that a group cannot be scored by.
    #[error("`{layer}` has no {units}, so it has no {importance} score; ignore it or choose another importance")]
    NoUnits {
        /// The group's layer.
        layer: String,
        /// What the criterion scores.
        units: &'static str,
        /// The criterion.
        importance: &'static str,
    },
    /// A criterion at a granularity at which it does not judge.
    #[error(
        "importance {importance} is of granularity {own}, not {granularity}, for which there are {allowed}{nearest}; choose \
         one of these, or another granularity"
    )]
    NotAt {
        /// The criterion.
        importance: &'static str,
        /// The granularity asked for.
        granularity: Granularity,
        /// Its own.
        own: String,
        /// The criteria of the granularity asked for.
        allowed: String,
        /// What comes nearest, or nothing.
        nearest: String,
    },
    /// A criterion that judges no unit of a granularity.
    #[error("importance {importance} does not judge at granularity {granularity}")]
    NotJudged {
        /// The criterion.
        importance: &'static str,
        /// The granularity.
        granularity: Granularity,
    },
    /// A user's own criterion that does not score a group.
    #[error("the function of importance cannot score `{group}`: {reason}")]
    Own {
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
    /// A criterion of another strategy than the one asked for.
    #[error(
        "importance {importance} is of strategy {own}, not {strategy}, of which there are {allowed}; choose one of these, or \
         leave strategy out"
    )]
    OtherStrategy {
        /// The criterion.
        importance: &'static str,
        /// Its strategy.
        own: Strategy,
        /// The one asked for.
        strategy: Strategy,
        /// The criteria of that strategy at this granularity.
        allowed: String,
    },
    /// A granularity, or a strategy at it, without any criterion.
    #[error(
        "there is no criterion of granularity {granularity}{}; there are {allowed}",
        strategy.map_or(String::new(), |strategy| format!(" and strategy {strategy}"))
    )]
    NoCriterion {
        /// The granularity.
        granularity: Granularity,
        /// The strategy, if one was asked for.
        strategy: Option<Strategy>,
        /// The criteria of that granularity.
        allowed: String,
    },
    /// A call that does not do what a granularity asks.
    #[error("granularity {granularity} has no {what} yet; use {allowed}")]
    NotYet {
        /// The granularity.
        granularity: Granularity,
        /// What was asked for.
        what: &'static str,
        /// The granularities that have it.
        allowed: String,
    },
    /// A criterion that needs images where there are none.
    #[error("importance {importance} is measured on {needed}, and the pruner has none; give it data, a dataset")]
    NeedsData {
        /// The criterion.
        importance: &'static str,
        /// What it needs.
        needed: &'static str,
    },
    /// A reference that the model was not pruned from.
    #[error("`{layer}` was not pruned from the reference: {reason}; give the model that was pruned first")]
    NotPrunedFrom {
        /// The layer in question.
        layer: String,
        /// What was expected and found.
        reason: String,
    },
    /// Normal equations that cannot be solved.
    #[error(
        "the weights of `{layer}` cannot be fitted: what flows in or out of it is not finite, or says too little about them; raise \
         `ridge`, or take more images"
    )]
    Unsolvable {
        /// The layer.
        layer: String,
    },
    /// Somebody asked to stop.
    #[error("stopped after {done} of {total} {what}")]
    Stopped {
        /// What was done.
        what: &'static str,
        /// How many were done.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// A score that is not a finite number.
    #[error(
        "a {importance} score of `{layer}` is not a finite number, because its weights, what flows through it or its \
         gradients are not; choose another importance, or a model that trained without diverging"
    )]
    NotFinite {
        /// The group's layer.
        layer: String,
        /// The criterion.
        importance: &'static str,
    },
    /// A layer of a kind that a criterion does not look at.
    #[error("`{layer}` ({kind}) has no {importance} score of its own")]
    NotScored {
        /// The layer.
        layer: String,
        /// Its kind.
        kind: &'static str,
        /// The criterion.
        importance: &'static str,
    },
    /// A plan that does not fit the model.
    #[error("the plan does not fit `{layer}`: {reason}")]
    Misfit {
        /// The layer in question.
        layer: String,
        /// What was expected and found.
        reason: String,
    },
    /// An amount that masks do not have.
    #[error(
        "granularity {granularity} holds weights at zero and leaves the shape: no MACs, parameters or time are saved, so the \
         amount cannot be {found}; {}",
        match granularity {
            Granularity::NM => "its pattern alone says how much goes",
            Granularity::Weight | Granularity::Block | Granularity::Channel | Granularity::Filter | Granularity::Depth =>
                "give ratio, the share of the weights that goes, or threshold, below which they go",
        }
    )]
    SavesNothing {
        /// The granularity.
        granularity: Granularity,
        /// The amount.
        found: String,
    },
    /// A plan of another model.
    #[error(
        "the plan of {planned} is not one of this model: {source}; apply it to the model that it was made for, or plan this \
         one anew"
    )]
    OtherPlan {
        /// Name of the model that it was made for.
        planned: String,
        /// What does not fit.
        source: Box<PruneError>,
    },
    /// A plan of which rows are asked for, and which has none.
    #[error(
        "the plan removes no channel, it holds weights at zero or removes branches; make one that does, with granularity \
         channel or filter"
    )]
    NothingGoes,
    /// A residual branch that is not there.
    #[error("there is no residual branch `{name}`{hint}; there are {known}")]
    NoSuchBranch {
        /// The name.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
        /// The names there are.
        known: String,
    },
    /// A network without a residual branch that could go.
    #[error(
        "there is no residual branch that could go{}",
        if *ignored > 0 { format!(": `ignore` keeps all {ignored}") } else { "; choose another granularity".to_owned() }
    )]
    NoBranches {
        /// How many there are that are ignored.
        ignored: usize,
    },
    /// A share that no number of branches comes near.
    #[error(
        "cannot keep {asked:.1} % of the {what} by removing some of {branches} residual branches: the nearest plan keeps \
         {nearest:.1} %; ask for that, give `ratio`, or remove channels too"
    )]
    TooFewBranches {
        /// What was to be kept, such as MACs.
        what: &'static str,
        /// The share asked for, in percent.
        asked: f64,
        /// The nearest share, in percent.
        nearest: f64,
        /// How many branches could go.
        branches: usize,
    },
    /// The pruned model does not run as it should: a fault of pruning itself.
    #[error("the pruned model failed its check: {0}")]
    Check(String),
    /// A file or folder that could not be read or made, or that is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A file that could not be read or written.
    #[error(transparent)]
    Write(Box<IoError>),
    /// The graph does not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model does not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A run of the model failed.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// The images could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What flows through the model could not be measured.
    #[error(transparent)]
    Measure(#[from] EvalError),
    /// A scan could not be made, kept or used.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A model could not be trained between the steps of gradual pruning.
    #[error("{0}")]
    Tune(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl From<ExecError> for PruneError {
    fn from(error: ExecError) -> Self {
        PruneError::Exec(Box::new(error))
    }
}

impl From<IoError> for PruneError {
    fn from(error: IoError) -> Self {
        PruneError::Write(Box::new(error))
    }
}
