//! What is served, in the forms that other software reads: master files, hosts
//! files, JSON, allow-lists of firewalls and proxies, and conditional
//! forwarders of the DNS servers in front of hubdns.
//!
//! ```text
//! daemon (control socket) or offline ─▶ admin::inventory::Inventory ─▶ Estate ─▶ text
//! ```
//!
//! Pure: no files, no sockets, no clock. Equal sets give equal bytes, so that an
//! export under version control changes only when the names do. Names may hold
//! any bytes (RFC 2181 section 11): master files escape them, the other forms
//! leave out what they cannot say and tell so in a note.

pub mod allow_list;
pub mod estate;
pub mod forwarder;
pub mod hosts;
pub mod json;
pub mod registries;
mod text;
pub mod zone;

pub use estate::Estate;

use std::net::SocketAddr;

use crate::wire::Name;

/// Why there is nothing to export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The rows of the daemon hold something that cannot be.
    #[error("{what} {text:?} is malformed")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
    /// There is no such zone.
    #[error("{wanted} is none of the zones; there are: {}", list(known))]
    NoSuchZone {
        /// The zone that was asked for.
        wanted: Name,
        /// Those that there are.
        known: Vec<Name>,
    },
    /// There are several zones, and one file holds one.
    #[error(
        "one file holds one zone: choose it with --zone, or give --output-dir; there are: {}",
        list(known)
    )]
    SeveralZones {
        /// Those that there are.
        known: Vec<Name>,
    },
    /// There is no zone at all.
    #[error("no zone is held")]
    NoZone,
    /// No address is known that clients could ask.
    #[error("no address is known at which clients reach hubdns; name one with --server")]
    NoServer,
    /// The peer asks port 53 alone.
    #[error(
        "{peer} asks port 53 only, and hubdns answers at {server}; give --server, or let hubdns listen on port 53"
    )]
    OtherPort {
        /// The peer.
        peer: &'static str,
        /// The address.
        server: SocketAddr,
    },
}

/// At most this many names are told in an error.
const MAX_TOLD: usize = 20;

fn list(names: &[Name]) -> String {
    let mut told: Vec<String> = names.iter().take(MAX_TOLD).map(Name::to_string).collect();
    match names.len().saturating_sub(MAX_TOLD) {
        0 if told.is_empty() => return "none".to_owned(),
        0 => {}
        more => told.push(format!("and {more} more")),
    }
    told.join(", ")
}

/// What an export comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// What the reader should know, such as names that were left out.
    pub notes: Vec<String>,
}
