//! The pure half of every response: query + context + snapshot -> outcome.

use crate::snapshot::Snapshot;
use crate::wire::{Ede, Name, Query, Rcode, Response, Rtype};

/// The transport that a query came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: size limits apply.
    Udp,
    /// TCP: up to 65,535 bytes.
    Tcp,
}

impl Transport {
    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What the answer depends on besides the query and the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The transport.
    pub transport: Transport,
    /// Largest UDP response in bytes, and what our OPT announces.
    pub udp_size: u16,
}

impl Context {
    /// The largest response that this client takes, in bytes.
    #[inline]
    pub fn limit(&self, query: &Query) -> usize {
        match self.transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => usize::from(query.edns.map_or(512, |edns| edns.udp_size.min(self.udp_size))),
        }
    }
}

/// What [`answer`] made of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `out` holds the finished response.
    Hit(Hit),
    /// Nothing here answers it: cache or upstream, by the longest forward rule.
    Miss(Miss),
    /// `out` holds a finished response whose CNAME chain leads to a name that
    /// is not local: with RD its last target is to be resolved and appended.
    Leads,
}

/// A response made from the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What was found.
    pub lookup: Lookup,
    /// The response code.
    pub rcode: Rcode,
}

/// What was found for the question, in the words of RFC 9499.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The RRset asked for, behind CNAMEs or not.
    Found,
    /// The name exists without that type.
    NoData,
    /// No such name.
    NxDomain,
    /// A name of ours that no record covers: denied.
    OwnMissing,
    /// Refused: a question that is never answered or forwarded.
    Refused,
}

/// Why nothing here answers a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Not ours: forwarded, with the fallback where the rules of design.md section 2 allow.
    Foreign,
    /// Ours but not held, and `own_missing = "forward"`: forwarded, never to the fallback.
    Own,
}

/// Answers `query` from `snapshot`, into the buffer that holds the query.
///
/// On [`Outcome::Miss`] the buffer is as it was: header and question stand.
pub fn answer(query: &Query, context: &Context, snapshot: &Snapshot, out: &mut Response<'_>) -> Outcome {
    let _ = (query, context, snapshot, out);
    Outcome::Miss(Miss::Foreign)
}

/// Finishes a response without records: an error, or a refusal with `ede`.
pub fn error(
    query: &Query,
    context: &Context,
    rcode: Rcode,
    ede: Option<Ede>,
    out: &mut Response<'_>,
) -> usize {
    let _ = (query, context, rcode, ede, out);
    0
}

/// Our whole answer for `name`, as a message with that question; `None` where
/// [`answer`] misses. For the splice and for `explain`.
pub fn answer_name(name: &Name, qtype: Rtype, snapshot: &Snapshot) -> Option<(Outcome, Vec<u8>)> {
    let _ = (name, qtype, snapshot);
    None
}
