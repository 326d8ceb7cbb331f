//! The one entry of every transport and of the command line: answer, then
//! cache, forward and splice.

use std::sync::Arc;

use crate::answer::{Context, Lookup};
use crate::snapshot::Snapshot;
use crate::wire::{Query, Rcode, Response};

/// Where a response goes that is not ready at once.
pub trait Reply: Send + 'static {
    /// Takes the finished response: the client's id, spelling, size limit and
    /// OPT are already in it.
    fn send(self: Box<Self>, response: Vec<u8>, rcode: Rcode, origin: Origin);
}

/// Where a response comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The snapshot.
    Hit,
    /// The response cache or an upstream.
    Forward,
    /// Neither: an error of our own making.
    Error,
}

impl Origin {
    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Forward => "forward",
            Self::Error => "error",
        }
    }
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The response stands in the buffer, `len` bytes long.
    Ready {
        /// Length of the response.
        len: usize,
        /// Its code.
        rcode: Rcode,
        /// Where it comes from.
        origin: Origin,
        /// What the snapshot said, for a hit.
        lookup: Option<Lookup>,
    },
    /// The [`Reply`] will be used, by another thread.
    Pending,
}

/// The shared state of resolving: the response cache and the way to the upstreams.
#[derive(Clone, Debug)]
pub struct Resolver {}

impl Resolver {
    /// Resolves `query`, whose bytes (header and question at least) stand in `out`.
    ///
    /// `now` is coarse monotonic time in milliseconds, read once per batch.
    /// `reply` is called only when the response is not ready at once.
    pub fn resolve<R: Reply>(
        &self,
        query: &Query,
        context: &Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        let _ = (query, context, snapshot, now, out, reply);
        Resolved::Pending
    }
}
