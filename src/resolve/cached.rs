//! Look-ups in the response cache on behalf of queries, and what their results
//! mean beside the snapshot of this moment.

use std::sync::Arc;

use crate::answer::Context;
use crate::forward::cache::{KeyRef, bits};
use crate::forward::entry::Entry;
use crate::forward::kept::{Checked, Kept, Traits};
use crate::forward::respond::{self, Recipient};
use crate::metrics::forward::CacheLookup;
use crate::snapshot::Snapshot;
use crate::wire::{Class, Edns, Flags, Query, Rcode, Rtype};

use super::{Shared, splice};

/// What the cache did with a query.
pub(super) enum InPlace {
    /// The response stands in the buffer.
    Written {
        /// Its length.
        len: usize,
        /// Its code.
        rcode: Rcode,
        /// Whether what was kept is to be renewed, and nobody else does it.
        due: bool,
    },
    /// What it holds leads to the snapshot, so that more is to be put together.
    Leads,
    /// A response that expired and may stand in, if nothing better comes in time.
    Expired,
    /// Nothing that can be used.
    Absent,
}

/// Where the chain of a cached response meets the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Nowhere.
    None,
    /// At this target.
    At(usize),
    /// It no longer does, or must not: the response is void.
    Outdated,
}

/// What was found under a key; of the first two the response is written.
#[derive(Clone, Copy)]
enum Found {
    Fresh,
    Stale,
    Leads,
    Outdated,
    Expired,
}

impl Shared {
    /// Writes the cached response of `query` to `buf`, which opens with it.
    #[inline]
    pub(super) fn cached_in_place(
        &self,
        query: &Query,
        context: Context,
        own: bool,
        snapshot: &Snapshot,
        now: u64,
        buf: &mut [u8],
    ) -> InPlace {
        let Some(key) = self.key(query, own) else { return InPlace::Absent };
        // Outside of what is found, which goes through memory as soon as it is
        // more than a byte.
        let (mut written, mut due) = ((0, Rcode::NOERROR), false);
        let found = self.forwarder.cache().read(&key, |kept| {
            if !kept.is_fresh(now) {
                let (found, stale) = self.stale_in_place(*kept, query, context, snapshot, now, buf);
                written = stale;
                return found;
            }
            match compare(kept, query.qtype, query.qclass, snapshot) {
                Meeting::None => {
                    written = respond::write(kept, &recipient(query, context), now, buf);
                    due = kept.is_due(now) && self.renewals.take_up(kept);
                    Found::Fresh
                }
                Meeting::At(_) => Found::Leads,
                Meeting::Outdated => Found::Outdated,
            }
        });
        let (len, rcode) = written;
        if let Some(Found::Fresh) = found {
            self.forwarder.metrics().lookup(CacheLookup::Hit);
            return InPlace::Written { len, rcode, due };
        }
        self.unusual(key, found, written)
    }

    /// Everything but a fresh response.
    #[cold]
    fn unusual(&self, key: KeyRef<'_>, found: Option<Found>, (len, rcode): (usize, Rcode)) -> InPlace {
        match found {
            // Counted by the look-up that follows.
            Some(Found::Leads) => InPlace::Leads,
            Some(Found::Stale | Found::Fresh) => {
                self.forwarder.metrics().lookup(CacheLookup::Stale);
                InPlace::Written { len, rcode, due: false }
            }
            Some(Found::Outdated) => {
                self.forget(&key);
                InPlace::Absent
            }
            Some(Found::Expired) => {
                self.forwarder.metrics().lookup(CacheLookup::Miss);
                InPlace::Expired
            }
            None => {
                self.forwarder.metrics().lookup(CacheLookup::Miss);
                InPlace::Absent
            }
        }
    }

    /// The response has expired; while its upstream is known to fail, it goes
    /// out at once, as a stand-in (RFC 8767 section 5).
    #[cold]
    fn stale_in_place(
        &self,
        kept: Kept<'_>,
        query: &Query,
        context: Context,
        snapshot: &Snapshot,
        now: u64,
        buf: &mut [u8],
    ) -> (Found, (usize, Rcode)) {
        let cache = self.forwarder.cache();
        let nothing = (0, Rcode::NOERROR);
        if !kept.stands_in_at_once(now, cache.max_stale()) {
            return (Found::Expired, nothing);
        }
        match compare(&kept, query.qtype, query.qclass, snapshot) {
            Meeting::None => {
                let to = recipient(query, context);
                (Found::Stale, respond::write_stale(&kept, &to, cache.stale_ttl(), buf))
            }
            Meeting::At(_) => (Found::Leads, nothing),
            Meeting::Outdated => (Found::Outdated, nothing),
        }
    }

    /// A copy of the cached response of `query`, with the place where it leads
    /// to the snapshot, if it does. One that is due is renewed.
    pub(super) fn cached(
        self: &Arc<Self>,
        query: &Query,
        own: bool,
        snapshot: &Snapshot,
        now: u64,
    ) -> Option<(Arc<Entry>, Option<usize>)> {
        let key = self.key(query, own)?;
        let cache = self.forwarder.cache();
        let (max_stale, ttl) = (cache.max_stale(), cache.stale_ttl());
        let mut due = false;
        let found = cache.read(&key, |kept| {
            if kept.is_fresh(now) {
                due = kept.is_due(now) && self.renewals.take_up(kept);
                Some(Entry::from_kept(kept))
            } else {
                kept.stands_in_at_once(now, max_stale).then(|| Entry::stale(kept, now, ttl))
            }
        });
        let found = found.flatten().and_then(|entry| {
            match compare(&entry.kept(), query.qtype, query.qclass, snapshot) {
                Meeting::None => Some((entry, None)),
                Meeting::At(cut) => Some((entry, Some(cut))),
                Meeting::Outdated => {
                    self.forget(&key);
                    None
                }
            }
        });
        if due {
            self.renew(query, own, now);
        }
        let result = match &found {
            Some((entry, _)) if entry.is_stale() => CacheLookup::Stale,
            Some(_) => CacheLookup::Hit,
            None => CacheLookup::Miss,
        };
        self.forwarder.metrics().lookup(result);
        found.map(|(entry, cut)| (Arc::new(entry), cut))
    }

    /// Has the cached responses of the queries fetched whose bit is set in `which`.
    pub(super) fn fetch(&self, queries: &[Query], which: u64) {
        let (mut hashes, mut count) = ([0; u64::BITS as usize], 0);
        let wanted = queries.iter().enumerate().filter(|(index, _)| which >> index & 1 != 0);
        for (place, (_, query)) in hashes.iter_mut().zip(wanted) {
            // What is ours is seldom cached; a wrong key costs its fetch alone.
            *place = self.key(query, false).map_or(0, |key| key.kept_hash());
            count += 1;
        }
        self.forwarder.cache().fetch(hashes.get(..count).unwrap_or_default());
    }

    #[inline]
    pub(super) fn key<'q>(&self, query: &'q Query, own: bool) -> Option<KeyRef<'q>> {
        let partition = self.forwarder.tables().partition(&query.qname)?;
        Some(KeyRef::new(partition, &query.qname, query.qtype, query.qclass, key_bits(query, own)))
    }

    #[cold]
    fn forget(&self, key: &KeyRef<'_>) {
        self.forwarder.metrics().lookup(CacheLookup::Outdated);
        self.forwarder.cache().remove(key);
    }
}

/// Where `kept`, the response to a question of `qtype` and `qclass`, leads in
/// `snapshot`. Outdated is a chain alone whose end the snapshot no longer
/// answers, and an answer of the fallback whose chain meets a name that is ours now.
#[inline]
pub(super) fn compare(kept: &Kept<'_>, qtype: Rtype, qclass: Class, snapshot: &Snapshot) -> Meeting {
    if !kept.head.traits.has(Traits::HAS_TARGETS) {
        return Meeting::None;
    }
    compare_chain(*kept, qtype, qclass, snapshot)
}

/// [`compare`] of a response with a chain. What is kept comes as a copy, here
/// and where else a rare case is told apart: a reference would have the usual
/// case put it into memory.
fn compare_chain(kept: Kept<'_>, qtype: Rtype, qclass: Class, snapshot: &Snapshot) -> Meeting {
    let mut checked = kept.marks.checked();
    if checked.instance != snapshot.instance() {
        let split = splice::split(&kept.targets(), qtype, qclass, snapshot);
        if split.own && kept.head.traits.has(Traits::OF_FALLBACK) {
            return Meeting::Outdated;
        }
        checked = Checked { instance: split.instance, cut: split.cut };
        kept.marks.set_checked(checked);
    }
    match checked.cut {
        None if kept.head.traits.has(Traits::LEADING) => Meeting::Outdated,
        None => Meeting::None,
        Some(cut) => Meeting::At(cut),
    }
}

/// The bits of a query's key.
#[inline]
pub(super) fn key_bits(query: &Query, own: bool) -> u8 {
    let dnssec = query.edns.is_some_and(|edns| edns.dnssec_ok);
    let checking = query.flags.has(Flags::CD);
    (if dnssec { bits::DNSSEC_OK } else { 0 })
        | (if checking { bits::CHECKING_DISABLED } else { 0 })
        | (if own { bits::OWN } else { 0 })
}

/// What a response takes from the query. AD goes to those who show by AD or DO
/// that they know it (RFC 6840 section 5.8); it is set in what is kept only if
/// the upstream may say so.
#[inline]
pub(super) fn recipient(query: &Query, context: Context) -> Recipient {
    recipient_of(query.flags, query.edns, context)
}

/// [`recipient`] of a query with these flags and that OPT.
#[inline]
pub(super) fn recipient_of(flags: Flags, edns: Option<Edns>, context: Context) -> Recipient {
    let dnssec_ok = edns.is_some_and(|edns| edns.dnssec_ok);
    Recipient {
        flags,
        edns,
        limit: context.limit_with(edns),
        udp_size: context.udp_size,
        authoritative: false,
        authentic: dnssec_ok || flags.has(Flags::AD),
    }
}
