//! A response as it is kept: wire form without OPT, with the places of its
//! TTLs and the time that it may be used.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::edns::OPTION_EDE;
use crate::wire::header;
use crate::wire::message::{Message, Record, Section};
use crate::wire::{Ede, Flags, Name, Rcode, Rtype, read_u32};

use super::chain::Chain;
use super::reply::UpstreamReply;

/// How long responses are kept, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlBounds {
    /// Least for a positive answer.
    pub min: u32,
    /// Most for a positive answer.
    pub max: u32,
    /// Most for NXDOMAIN and NODATA (RFC 2308 section 5).
    pub max_negative: u32,
    /// For an upstream's failure (RFC 9520 section 3.2: 1 to 300, here up to 30).
    pub servfail: u32,
}

/// Which snapshot a leading entry was compared with, and where it leads in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// [`crate::forward::Split::instance`].
    pub instance: u64,
    /// Index of the first target that the snapshot answers.
    pub cut: Option<usize>,
}

/// A response at hand, cached or just received.
#[derive(Debug)]
pub struct Entry {
    bytes: Box<[u8]>,
    question_end: u16,
    ttls: Box<[u16]>,
    rcode: Rcode,
    ede: Box<[u8]>,
    /// Coarse monotonic milliseconds of its arrival.
    stored: u64,
    /// When it stops being an answer, same clock; `stored` if it is not to be kept.
    expires: u64,
    targets: Box<[Name]>,
    /// Only the chain is here: the last target was answered by the snapshot.
    leading: bool,
    /// The fallback's answer: void once a target of its chain is ours.
    from_fallback: bool,
    /// [`Checked`] in one word: instance above the low eight bits, cut + 1 in them.
    checked: AtomicU64,
}

impl Entry {
    /// Takes a response in. `chain` is its chain; with `leading`, the chain
    /// is all there is and its last target belongs to the snapshot.
    pub fn new(reply: UpstreamReply, chain: Chain, bounds: &TtlBounds, now: u64, checked: Checked) -> Self {
        let leading = checked.cut.is_some();
        let life = lifetime(&reply, &chain, bounds, leading);
        let UpstreamReply { bytes, rcode, ede, .. } = refused_as_servfail(reply);
        let mut entry = Self::lasting(bytes, rcode, ede, now);
        entry.expires = now.saturating_add(u64::from(life) * 1000);
        entry.targets = chain.targets.into();
        entry.leading = leading;
        entry.set_checked(checked);
        entry
    }

    /// A message that is used once, now.
    pub fn lasting(mut bytes: Vec<u8>, rcode: Rcode, ede: Vec<u8>, now: u64) -> Self {
        let mut ttls = Vec::new();
        let mut lower = Vec::new();
        let mut question_end = bytes.len();
        if let Some(message) = Message::parse(&bytes) {
            question_end = message.question_end();
            for record in message.records() {
                // A message has at most 65,535 bytes, so every offset fits.
                ttls.push(u16::try_from(record.ttl_at).unwrap_or(u16::MAX));
                lower.push((record.ttl_at, served_ttl(&bytes, &record)));
            }
        }
        for (at, ttl) in lower {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&ttl.to_be_bytes());
            }
        }
        Self {
            bytes: bytes.into(),
            question_end: question_end as u16,
            ttls: ttls.into(),
            rcode,
            ede: ede.into(),
            stored: now,
            expires: now,
            targets: Box::default(),
            leading: false,
            from_fallback: false,
            checked: AtomicU64::new(0),
        }
    }

    /// Header, question and records.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the question ends.
    #[inline]
    pub fn question_end(&self) -> usize {
        usize::from(self.question_end)
    }

    /// Offsets of the TTLs.
    #[inline]
    pub fn ttls(&self) -> &[u16] {
        &self.ttls
    }

    /// The response code.
    #[inline]
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// The header's flags as the upstream set them.
    #[inline]
    pub fn flags(&self) -> Flags {
        header::flags(&self.bytes).unwrap_or_default()
    }

    /// Extended errors as EDNS options.
    #[inline]
    pub fn ede(&self) -> &[u8] {
        &self.ede
    }

    /// Whole seconds since it arrived.
    #[inline]
    pub fn age(&self, now: u64) -> u32 {
        u32::try_from(now.saturating_sub(self.stored) / 1000).unwrap_or(u32::MAX)
    }

    /// Whether it still is an answer.
    #[inline]
    pub fn is_fresh(&self, now: u64) -> bool {
        now < self.expires
    }

    /// Whether it may be kept at all.
    pub fn is_cacheable(&self) -> bool {
        self.expires > self.stored
    }

    /// Seconds that it has left.
    pub fn remaining(&self, now: u64) -> u64 {
        self.expires.saturating_sub(now) / 1000
    }

    /// The targets of its chain.
    #[inline]
    pub fn targets(&self) -> &[Name] {
        &self.targets
    }

    /// Whether it is a chain alone, whose last target the snapshot answered.
    #[inline]
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// Marks it as the fallback's answer.
    #[must_use]
    pub fn of_fallback(mut self) -> Self {
        self.from_fallback = true;
        self
    }

    /// Whether it is the fallback's answer.
    #[inline]
    pub fn is_of_fallback(&self) -> bool {
        self.from_fallback
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

    /// Bytes that it takes up, allocations included.
    pub fn weight(&self) -> u64 {
        let names: usize = self.targets.iter().map(|n| n.as_wire().len() + size_of::<Name>()).sum();
        (size_of::<Self>() + 16 + self.bytes.len() + self.ttls.len() * 2 + self.ede.len() + names) as u64
    }
}

/// REFUSED and FORMERR of an upstream are between it and us: the client's own
/// query was fine, so it gets SERVFAIL and the reason.
fn refused_as_servfail(reply: UpstreamReply) -> UpstreamReply {
    let ede = match reply.rcode {
        Rcode::REFUSED => Ede::UPSTREAM_REFUSED,
        Rcode::FORMERR => Ede { code: 0, text: "upstream could not read the query" },
        _ => return reply,
    };
    let mut bare = reply.bytes;
    if let Some(end) = Message::parse(&bare).map(|message| message.question_end()) {
        bare.truncate(end);
        header::set_counts(&mut bare, header::Counts { question: 1, ..header::Counts::default() });
    }
    let mut options = reply.ede;
    if options.is_empty() {
        options = ede_option(ede);
    }
    UpstreamReply { bytes: bare, rcode: Rcode::SERVFAIL, ede: options, truncated: false }
}

/// `ede` as an EDNS option.
pub fn ede_option(ede: Ede) -> Vec<u8> {
    let mut option = Vec::with_capacity(ede.option_len());
    option.extend_from_slice(&OPTION_EDE.to_be_bytes());
    option.extend_from_slice(&(2 + ede.text.len() as u16).to_be_bytes());
    option.extend_from_slice(&ede.code.to_be_bytes());
    option.extend_from_slice(ede.text.as_bytes());
    option
}

/// The TTL that stands in the kept message. An SOA's is lowered to its
/// MINIMUM, since clients take the smaller of both (RFC 2308 section 5) and
/// only the TTL ages.
fn served_ttl(bytes: &[u8], record: &Record) -> u32 {
    match record.section {
        Section::Authority if record.rtype == Rtype::SOA => record.ttl.min(soa_minimum(bytes, record)),
        _ => record.ttl,
    }
}

/// MINIMUM: the last field of the RDATA, and never compressed.
fn soa_minimum(bytes: &[u8], record: &Record) -> u32 {
    let minimum = record.rdata.end.checked_sub(4).filter(|at| *at >= record.rdata.start);
    minimum.and_then(|at| read_u32(bytes, at)).unwrap_or(0)
}

/// Seconds that the response may be used; 0 for what must not be kept.
pub fn lifetime(reply: &UpstreamReply, chain: &Chain, bounds: &TtlBounds, leading: bool) -> u32 {
    let Some(message) = Message::parse(&reply.bytes) else { return 0 };
    if reply.truncated || chain.looped {
        return 0;
    }
    let answers = message.records().filter(|r| r.section == Section::Answer).map(|r| r.ttl).min();
    match reply.rcode {
        Rcode::NOERROR if chain.answered || leading => {
            // RFC 2181 section 5.2: the TTLs of an RRset are one; the least is safe.
            answers.map_or(0, |ttl| ttl.max(bounds.min).min(bounds.max))
        }
        Rcode::NOERROR | Rcode::NXDOMAIN => {
            let negative = negative_ttl(&message, chain);
            // RFC 2308 section 5: without an SOA a denial is not kept.
            negative.map_or(0, |ttl| ttl.min(answers.unwrap_or(u32::MAX)).min(bounds.max_negative))
        }
        Rcode::SERVFAIL | Rcode::REFUSED => bounds.servfail,
        _ => 0,
    }
}

/// The smaller of TTL and MINIMUM of the SOA that denies a name of the chain.
fn negative_ttl(message: &Message<'_>, chain: &Chain) -> Option<u32> {
    let qname = message.qname()?.to_name();
    let soa = message.records().find(|r| r.section == Section::Authority && r.rtype == Rtype::SOA)?;
    let owner = message.owner(&soa)?.to_name();
    let covers = qname.is_at_or_below(&owner) || chain.targets.iter().any(|t| t.is_at_or_below(&owner));
    covers.then(|| soa.ttl.min(soa_minimum(message.bytes(), &soa)))
}
