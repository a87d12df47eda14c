//! What can go wrong in a scan.

use std::{io, path::PathBuf};

use thiserror::Error;

/// What can go wrong in a scan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A file that cannot be read or written.
    #[error("{} cannot be {what}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A journal of another scan.
    #[error(
        "{} is the journal of another scan: its {what} is {journal}, now it is {given}; name another folder, or ask for the \
         same",
        path.display()
    )]
    OtherScan {
        /// The journal.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What the journal has.
        journal: String,
        /// What was asked for.
        given: String,
    },
    /// A scan used with another model.
    #[error(
        "the scan is of {scanned} (tensors {scanned_digest}), not of this {model} ({digest}){layers}; scan this model, or \
         load the one that was scanned"
    )]
    OtherModel {
        /// Name of the model that was scanned.
        scanned: String,
        /// The beginning of the fingerprint of its tensors.
        scanned_digest: String,
        /// Name of the model given.
        model: String,
        /// The beginning of the fingerprint of its tensors.
        digest: String,
        /// A group that only one of them has, in words, or nothing.
        layers: String,
    },
    /// A question that only a scan of another unit answers.
    #[error("{what} needs a scan with unit \"{needed}\", and this one has unit \"{found}\"")]
    Unit {
        /// What was asked.
        what: &'static str,
        /// The unit it needs.
        needed: &'static str,
        /// The unit of the scan.
        found: &'static str,
    },
    /// A loss that is no finite number.
    #[error(
        "without channels {channels:?} of {group} the loss is not a finite number; leave that group out with `ignore`"
    )]
    NotFinite {
        /// The group.
        group: String,
        /// Channels of its first layer that were left out; none for the network as it is.
        channels: Vec<usize>,
    },
}
