//! A response as it is read, wherever its bytes lie: in a segment of the
//! cache, or in an [`Entry`](super::entry::Entry) of its own.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::wire::message::Message;
use crate::wire::{Flags, Name, Rcode, header};

use super::chain::Chain;

/// Most that a response's use is counted to: what is asked for more often is
/// not told apart.
const MOST_ASKED: u8 = 3;
/// Uses from which on a response is hot: renewed before it expires.
const HOT: u8 = 2;
/// Shortest life, in seconds, of a response that is worth renewing early.
const SHORTEST_RENEWED: u32 = 5;
/// Least time before its end at which a response is renewed: an upstream
/// takes up to a second, and a client should come by in between.
const LEAST_LEAD: u32 = 2;

/// The lead ([`Head::lead`]) of a response that lives for `life` seconds: its last tenth.
pub fn lead(life: u32) -> u16 {
    if life < SHORTEST_RENEWED { 0 } else { u16::try_from((life / 10).max(LEAST_LEAD)).unwrap_or(u16::MAX) }
}

/// The fixed part of a kept response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the question ends.
    pub question_end: u16,
    /// The response code, EDNS bits included.
    pub rcode: Rcode,
    /// Coarse monotonic milliseconds of its arrival.
    pub stored: u64,
    /// When it stops being an answer, same clock; `stored` if it is not to be kept.
    pub expires: u64,
    /// How long before it expires it is to be renewed if it is hot, in units
    /// of 1024 milliseconds; 0 for never.
    pub lead: u16,
    /// See [`Traits`].
    pub traits: Traits,
}

/// What is special about a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(pub u8);

impl Traits {
    /// Only the chain is here: the last target was answered by the snapshot.
    pub const LEADING: u8 = 1;
    /// The fallback's answer: void once a target of its chain is ours.
    pub const OF_FALLBACK: u8 = 2;
    /// QNAME has a chain.
    pub const HAS_TARGETS: u8 = 4;
    /// An upstream's failure, kept for a moment (RFC 9520).
    pub const FAILURE: u8 = 8;
    /// It has expired and stands in for an answer that does not come (RFC 8767).
    pub const STALE: u8 = 16;

    /// Whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

/// Which snapshot a chain was compared with, and where it leads in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// [`crate::forward::Split::instance`].
    pub instance: u64,
    /// Index of the first target that the snapshot answers.
    pub cut: Option<usize>,
}

/// What readers note about a response.
#[derive(Debug, Default)]
pub struct Marks {
    /// [`Checked`] in one word: instance above the low eight bits, cut + 1 in them.
    checked: AtomicU64,
    /// Second of the workers' clock up to which the upstream is not asked
    /// again after it failed (RFC 8767 section 5).
    retry_at: AtomicU32,
    /// Uses since the last round of eviction, up to [`MOST_ASKED`].
    asked: AtomicU8,
    /// Whether someone is to renew it before it expires.
    renewing: AtomicU8,
}

impl Marks {
    /// A copy of `other`, not asked for yet.
    pub fn of(other: &Self) -> Self {
        Self { checked: AtomicU64::new(other.checked.load(Ordering::Relaxed)), ..Self::default() }
    }

    /// The last comparison with a snapshot.
    #[inline]
    pub fn checked(&self) -> Checked {
        let word = self.checked.load(Ordering::Relaxed);
        Checked { instance: word >> 8, cut: ((word & 0xff) as usize).checked_sub(1) }
    }

    /// Remembers a comparison.
    pub fn set_checked(&self, checked: Checked) {
        let cut = checked.cut.map_or(0, |cut| cut as u64 + 1);
        self.checked.store(checked.instance << 8 | (cut & 0xff), Ordering::Relaxed);
    }

    /// Counts a use. Written only until it is counted out, so that workers
    /// that read the same response do not take its line from each other.
    #[inline]
    pub fn ask(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        if asked < MOST_ASKED {
            self.asked.store(asked + 1, Ordering::Relaxed);
        }
    }

    /// How often it was used, up to a few times.
    pub fn asked(&self) -> u8 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether it is asked for so often that it is worth renewing.
    pub fn is_hot(&self) -> bool {
        self.asked() >= HOT
    }

    /// Sets how often it was used.
    pub fn set_asked(&self, asked: u8) {
        self.asked.store(asked.min(MOST_ASKED), Ordering::Relaxed);
    }

    /// Whether the upstream failed so lately that it is not asked again at `now`.
    #[inline]
    pub fn is_failing(&self, now: u64) -> bool {
        now / 1000 < u64::from(self.retry_at.load(Ordering::Relaxed))
    }

    /// Notes a failure: the upstream is not asked again before `at`.
    pub fn fail_until(&self, at: u64) {
        self.retry_at.store(u32::try_from(at / 1000).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// `true` for the first who asks: it is to be renewed.
    #[inline]
    pub fn renew(&self) -> bool {
        self.renewing.load(Ordering::Relaxed) == 0 && self.renewing.swap(1, Ordering::Relaxed) == 0
    }
}

/// A kept response.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Its fixed part.
    pub head: Head,
    /// Header, question and records, without OPT.
    pub bytes: &'a [u8],
    /// Offsets of the TTLs in `bytes`, two bytes each, big-endian, ascending.
    pub ttls: &'a [u8],
    /// Extended errors as EDNS options in wire form.
    pub ede: &'a [u8],
    /// What readers noted.
    pub marks: &'a Marks,
}

impl Kept<'_> {
    /// The header's flags as the upstream set them.
    #[inline]
    pub fn flags(&self) -> Flags {
        header::flags(self.bytes).unwrap_or_default()
    }

    /// Whole seconds since it arrived.
    #[inline]
    pub fn age(&self, now: u64) -> u32 {
        u32::try_from(now.saturating_sub(self.head.stored) / 1000).unwrap_or(u32::MAX)
    }

    /// Whether it still is an answer.
    #[inline]
    pub fn is_fresh(&self, now: u64) -> bool {
        now < self.head.expires
    }

    /// Whether it is so near its end that it is to be renewed if it is hot.
    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        now.wrapping_add(u64::from(self.head.lead) << 10) >= self.head.expires
    }

    /// Whether it may stand in for an answer that does not come, up to
    /// `max_stale` milliseconds after it expired. An upstream's failure never.
    pub fn is_usable(&self, now: u64, max_stale: u64) -> bool {
        self.is_fresh(now)
            || (!self.head.traits.has(Traits::FAILURE) && now < self.head.expires.saturating_add(max_stale))
    }

    /// Whether it stands in at `now` without another try: it has expired, may
    /// stand in up to `max_stale` milliseconds, and its upstream failed lately.
    pub fn stands_in_at_once(&self, now: u64, max_stale: u64) -> bool {
        self.marks.is_failing(now) && self.is_usable(now, max_stale)
    }

    /// Seconds that it has left.
    pub fn remaining(&self, now: u64) -> u64 {
        self.head.expires.saturating_sub(now) / 1000
    }

    /// The targets of its chain, read from its records.
    pub fn targets(&self) -> Vec<Name> {
        if !self.head.traits.has(Traits::HAS_TARGETS) {
            return Vec::new();
        }
        Message::parse(self.bytes).map(|message| Chain::walk(&message).targets).unwrap_or_default()
    }
}
