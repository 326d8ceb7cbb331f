//! One message of a stream, from its bytes to its response: what every
//! transport but UDP does between reading and writing, so that they cannot
//! drift apart. (UDP works in batches and does the same in the same order.)

use std::sync::Arc;

use super::extras::{Admission, Asker, Extras, unix_seconds};
use super::reject::reject;
use crate::answer::{Context, Lookup};
use crate::metrics::queries::{Dropped, Recorder, Writers};
use crate::resolve::{Origin, Reply, Resolved, Resolver};
use crate::snapshot::Snapshot;
use crate::wire::{Query, Reject, Response, Unusual};

/// What a message is asked with.
pub(super) struct Asking<'a, W> {
    pub(super) resolver: &'a Resolver,
    pub(super) counters: &'a Recorder<W>,
    pub(super) context: Context,
    pub(super) snapshot: &'a Arc<Snapshot>,
    /// The time, in milliseconds.
    pub(super) now: u64,
    /// Who asks, and what the transport offers besides.
    pub(super) asker: Asker<'a>,
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
        reply: impl FnOnce(Option<Box<Extras>>) -> R,
    ) -> Asked {
        let extras = match query.read_usual(message) {
            Ok(()) => Extras::NONE,
            Err(unusual) => match self.admit(unusual, query, message) {
                // Only UDP can be told to come by TCP.
                Admission::Answer(extras) | Admission::Truncate(extras) => extras,
                Admission::Reject(why, extras) => return self.reject(&why, &extras, place),
            },
        };
        let mut out = Response::new(place, self.context.limit(query));
        let reply = || reply(extras.boxed());
        match self.resolver.resolve(query, &self.context, self.snapshot, self.now, &mut out, reply) {
            Resolved::Ready { len, rcode, origin, lookup } => {
                self.counters.response(self.context.transport, rcode, origin);
                if lookup == Some(Lookup::OwnMissing) {
                    self.counters.own_missing();
                }
                Asked::Ready(extras.append(place, len))
            }
            Resolved::Pending => Asked::Pending,
        }
    }

    /// What becomes of an unusual message, and what its response carries.
    fn admit(&self, unusual: Unusual, query: &mut Query, message: &[u8]) -> Admission {
        match unusual {
            Unusual::Options => self.asker.admit(query, message, unix_seconds, self.counters),
            Unusual::Rejected(why) => {
                let (why, extras) = self.asker.reject(why, message, unix_seconds, self.counters);
                Admission::Reject(why, extras)
            }
        }
    }

    #[cold]
    fn reject(&self, why: &Reject, extras: &Extras, place: &mut [u8]) -> Asked {
        match reject(why, self.context.udp_size, place) {
            Ok((len, rcode)) => {
                self.counters.response(self.context.transport, rcode, Origin::Error);
                Asked::Ready(extras.append(place, len))
            }
            Err(reason) => {
                self.counters.dropped(Dropped::from(reason));
                Asked::Unfit
            }
        }
    }
}
