//! One message of a stream, from its bytes to its response: what every
//! transport but UDP does between reading and writing, so that they cannot
//! drift apart. (UDP works in batches and does the same in the same order.)

use std::sync::Arc;

use super::reject::reject;
use crate::answer::{Context, Lookup};
use crate::metrics::queries::{Dropped, Recorder, Writers};
use crate::resolve::{Origin, Reply, Resolved, Resolver};
use crate::snapshot::Snapshot;
use crate::wire::{Offer, Query, Response, Tail};

/// What a message is asked with.
pub(super) struct Asking<'a, W> {
    pub(super) resolver: &'a Resolver,
    pub(super) counters: &'a Recorder<W>,
    pub(super) context: Context,
    pub(super) snapshot: &'a Arc<Snapshot>,
    /// The time, in milliseconds.
    pub(super) now: u64,
    /// What the transport offers besides.
    pub(super) offer: Offer,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its response stands in the place given, so many bytes of it.
    Ready(usize),
    /// The reply will be used.
    Pending,
    /// It must not be answered: it has no place in a stream of queries.
    Unfit,
}

impl<W: Writers> Asking<'_, W> {
    /// Asks `message`, which stands at the front of `place` as well. `reply` is
    /// made only for a response that is not ready at once; what it is given is
    /// to be appended to that.
    #[inline]
    pub(super) fn ask<R: Reply>(
        &self,
        query: &mut Query,
        message: &[u8],
        place: &mut [u8],
        reply: impl FnOnce(Tail) -> R,
    ) -> Asked {
        let transport = self.context.transport;
        if let Err(why) = query.read(message) {
            return match reject(&why, self.context.udp_size, place) {
                Ok((len, rcode)) => {
                    self.counters.response(transport, rcode, Origin::Error);
                    Asked::Ready(len)
                }
                Err(reason) => {
                    self.counters.dropped(Dropped::from(reason));
                    Asked::Unfit
                }
            };
        }
        let tail = Tail::asked(message, query.edns, self.offer);
        let mut out = Response::new(place, self.context.limit(query));
        let reply = || reply(tail);
        match self.resolver.resolve(query, &self.context, self.snapshot, self.now, &mut out, reply) {
            Resolved::Ready { len, rcode, origin, lookup } => {
                self.counters.response(transport, rcode, origin);
                if lookup == Some(Lookup::OwnMissing) {
                    self.counters.own_missing();
                }
                Asked::Ready(tail.append(place, len))
            }
            Resolved::Pending => Asked::Pending,
        }
    }
}
