//! Why a source could not be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::azure::arm::ArmError;

/// Why a source has no new listing. The last good one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More bytes than a source may have.
    #[error("{} exceeds the limit of {limit} bytes", path.display())]
    TooLarge {
        /// The file or directory.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file holds nothing, as a failed command leaves it behind a redirection.
    #[error("{} is empty; the command that wrote it may have failed", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A directory holds no file to read.
    #[error("{} holds no *.json file", path.display())]
    NoFiles {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes that are neither UTF-8 nor UTF-16.
    #[error("{} is neither UTF-8 nor UTF-16 text", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
    },
    /// Text that is not JSON.
    #[error("{} is not JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// JSON that does not have the shape of what it claims to be.
    #[error("{}: {resource}: {message}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The resource id, or its place in the file.
        resource: String,
        /// What was found and what is wanted.
        message: String,
    },
    /// A saved error message of Azure instead of a result.
    #[error("{} holds an error of Azure: {code}", path.display())]
    SavedError {
        /// The file.
        path: PathBuf,
        /// Azure's error code.
        code: String,
    },
    /// A page says that more follow, and they are not there.
    #[error("{} is incomplete: its next page is not among the files: {next}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The `nextLink` or skip token.
        next: String,
    },
    /// A master file breaks a rule.
    #[error("{}:{line}: {message}", path.display())]
    ZoneFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A record of the configuration lies in no zone that is served.
    #[error("{origin}: {name} lies in no zone that is served")]
    NoZone {
        /// The key in the configuration.
        origin: String,
        /// The owner name.
        name: String,
    },
    /// A request to Azure yields nothing.
    #[error(transparent)]
    Azure(Arc<ArmError>),
    /// A resource of Azure does not have the shape of what it claims to be.
    #[error("{resource}: {message}")]
    Resource {
        /// The resource id.
        resource: String,
        /// What was found and what is wanted.
        message: String,
    },
    /// Resources are missing from a listing that seems whole, and Azure does not say that they are gone.
    #[error(
        "{count} resources are missing from the listing and not confirmed as deleted; \
         what they said last stays until Azure says that they are gone"
    )]
    Unconfirmed {
        /// How many.
        count: usize,
    },
    /// A subscription that was read is in no list of subscriptions any more.
    #[error(
        "the subscription is no longer visible to the identity; what it held stays. \
         Give the identity its role again, or name the subscriptions that count in the configuration"
    )]
    SubscriptionNotVisible,
    /// A subscription that was read is in a state in which it is not read.
    #[error("the subscription is in the state {state:?} and is not read; what it held stays")]
    SubscriptionState {
        /// The state, as Azure writes it.
        state: String,
    },
    /// A listing came to no end.
    #[error("the listing came to no end in time")]
    TookTooLong,
    /// A source that had facts lists none.
    #[error("the listing is empty where it was not before")]
    EmptyListing,
    /// Reading the source panicked: a defect of hubdns, contained.
    #[error("reading failed by a defect: {message}")]
    Defect {
        /// The panic's message.
        message: String,
    },
}

impl SourceError {
    /// The label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::TooLarge { .. } => "too_large",
            Self::EmptyFile { .. } | Self::NoFiles { .. } => "no_content",
            Self::Encoding { .. } => "encoding",
            Self::Json { .. } | Self::Shape { .. } | Self::Resource { .. } => "shape",
            Self::SavedError { .. } => "saved_error",
            Self::Incomplete { .. } => "incomplete",
            Self::ZoneFile { .. } => "zone_file",
            Self::NoZone { .. } => "no_zone",
            Self::Azure(error) => error.label(),
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::SubscriptionNotVisible => "not_visible",
            Self::SubscriptionState { .. } => "subscription_state",
            Self::TookTooLong => "too_long",
            Self::EmptyListing => "empty_listing",
            Self::Defect { .. } => "defect",
        }
    }

    pub(super) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}

/// The error with the chain of its causes, for a status or a log field.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
