//! Why a question over a stream got no response.

use std::fmt;
use std::io;

use crate::metrics::streams::StreamFault;

/// Longest text of a peer that an error carries, in characters.
const MAX_DETAIL: usize = 300;

/// A fault, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// What it counts as.
    pub fault: StreamFault,
    /// In words, perhaps a peer's; for logs and people.
    pub detail: String,
}

impl StreamError {
    /// An error; `detail` is cut if it is long.
    pub(super) fn new(fault: StreamFault, detail: impl fmt::Display) -> Self {
        Self { fault, detail: detail.to_string().chars().take(MAX_DETAIL).collect() }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            StreamFault::Refused => "connection refused",
            StreamFault::ConnectTimeout => "no connection in time",
            StreamFault::Unreachable => "no connection",
            StreamFault::Trust => "trusted certificates unreadable",
            StreamFault::Certificate => "certificate not accepted",
            StreamFault::Pin => "public key not pinned",
            StreamFault::Tls => "TLS failed",
            StreamFault::Alpn => "no HTTP/2",
            StreamFault::Lost => "connection lost",
            StreamFault::Timeout => "no response in time",
            StreamFault::HttpStatus => "HTTP status",
            StreamFault::ContentType => "HTTP content type",
            StreamFault::TooLarge => "HTTP body too large",
            StreamFault::Malformed => "response unreadable",
            StreamFault::Busy => "all connections full",
            StreamFault::BackOff => "failed a moment ago",
            StreamFault::OverBudget => "no more queries allowed",
        };
        match self.detail.as_str() {
            "" => f.write_str(what),
            detail => write!(f, "{what}: {detail}"),
        }
    }
}

impl std::error::Error for StreamError {}

/// The fault in an error that was made of a [`StreamError`].
pub fn fault_of(error: &io::Error) -> Option<StreamFault> {
    error.get_ref()?.downcast_ref::<StreamError>().map(|error| error.fault)
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error.fault {
            StreamFault::Refused => io::ErrorKind::ConnectionRefused,
            StreamFault::Lost => io::ErrorKind::ConnectionReset,
            StreamFault::Timeout | StreamFault::ConnectTimeout => io::ErrorKind::TimedOut,
            StreamFault::Malformed
            | StreamFault::HttpStatus
            | StreamFault::ContentType
            | StreamFault::TooLarge => io::ErrorKind::InvalidData,
            StreamFault::Unreachable
            | StreamFault::Trust
            | StreamFault::Certificate
            | StreamFault::Pin
            | StreamFault::Tls
            | StreamFault::Alpn
            | StreamFault::Busy
            | StreamFault::BackOff
            | StreamFault::OverBudget => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
