//! A response as it is kept: wire form without OPT, with the places of its
//! TTLs and the time that it may be used.

use crate::wire::edns::OPTION_EDE;
use crate::wire::header;
use crate::wire::message::{Message, Record, Section};
use crate::wire::{Ede, Flags, Name, Rcode, Rtype, read_u32};

use super::chain::Chain;
use super::kept::{Head, Kept, Marks, Traits, lead};
use super::reply::UpstreamReply;
use super::respond;

pub use super::kept::Checked;

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

/// A response at hand, just received or copied out of the cache.
#[derive(Debug)]
pub struct Entry {
    head: Head,
    bytes: Box<[u8]>,
    ttls: Box<[u8]>,
    ede: Box<[u8]>,
    targets: Box<[Name]>,
    marks: Marks,
}

/// Longest life of a restored response, milliseconds: the configuration allows
/// seven days at most.
const MOST_LEFT: i64 = 7 * 86_400 * 1000;

/// A response as it was saved.
#[derive(Clone, Copy, Debug)]
pub struct Restored<'a> {
    /// The response code.
    pub rcode: Rcode,
    /// What was special about it.
    pub traits: Traits,
    /// How often it was used lately.
    pub asked: u8,
    /// Milliseconds since it arrived.
    pub age: u64,
    /// Milliseconds until it expires; negative if it has.
    pub left: i64,
    /// Extended errors as EDNS options.
    pub ede: &'a [u8],
    /// Header, question and records.
    pub bytes: &'a [u8],
}

impl Entry {
    /// Takes a response in. `chain` is its chain; with a cut in `checked`, the
    /// chain is all there is and its last target belongs to the snapshot.
    pub fn new(reply: UpstreamReply, chain: Chain, bounds: &TtlBounds, now: u64, checked: Checked) -> Self {
        let leading = checked.cut.is_some();
        let life = lifetime(&reply, &chain, bounds, leading);
        let failed = matches!(reply.rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR);
        let UpstreamReply { mut bytes, rcode, ede, truncated } = refused_as_servfail(reply);
        if truncated {
            // One that was put together, or of which nothing could be read, lacks it.
            let flags = header::flags(&bytes).unwrap_or_default();
            header::set_flags(&mut bytes, Flags(flags.0 | Flags::TC));
        }
        let mut entry = Self::lasting(bytes, rcode, ede, now);
        entry.head.expires = now.saturating_add(u64::from(life) * 1000);
        entry.head.lead = if failed { 0 } else { lead(life) };
        entry.targets = chain.targets.into();
        entry.set_trait(Traits::HAS_TARGETS, !entry.targets.is_empty());
        entry.set_trait(Traits::LEADING, leading);
        entry.set_trait(Traits::FAILURE, failed);
        entry.marks.set_checked(checked);
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
                ttls.extend_from_slice(&u16::try_from(record.ttl_at).unwrap_or(u16::MAX).to_be_bytes());
                lower.push((record.ttl_at, served_ttl(&bytes, &record)));
            }
        }
        for (at, ttl) in lower {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&ttl.to_be_bytes());
            }
        }
        Self {
            head: Head {
                question_end: question_end as u16,
                rcode,
                stored: now,
                expires: now,
                lead: 0,
                traits: Traits::default(),
            },
            bytes: bytes.into(),
            ttls: ttls.into(),
            ede: ede.into(),
            targets: Box::default(),
            marks: Marks::default(),
        }
    }

    /// A copy of what lies elsewhere.
    pub fn from_kept(kept: &Kept<'_>) -> Self {
        Self {
            head: kept.head,
            bytes: kept.bytes.into(),
            ttls: kept.ttls.into(),
            ede: kept.ede.into(),
            targets: kept.targets().into(),
            marks: Marks::of(kept.marks),
        }
    }

    /// What `kept`, which has expired, is as a stand-in at `now`: every TTL is
    /// `ttl`, and the extended errors begin with the one that tells of it.
    pub fn stale(kept: &Kept<'_>, now: u64, ttl: u32) -> Self {
        let mut entry = Self::from_kept(kept);
        let end = entry.bytes.len();
        respond::set_ttls(&entry.ttls, ttl, end, &mut entry.bytes);
        entry.ede = respond::stale_options(kept).into();
        (entry.head.stored, entry.head.expires) = (now, now);
        entry.set_trait(Traits::STALE, true);
        entry
    }

    /// What the cache held when the process before this one ended: `age` and
    /// `left` say since when and for how long, in milliseconds from now; `left`
    /// is negative for what has expired. Everything that the message itself
    /// tells is read from it. `None` if it is none.
    pub fn restored(saved: &Restored<'_>, now: u64) -> Option<Self> {
        let message = Message::parse(saved.bytes)?;
        let end = message.records().last().map_or(message.question_end(), |record| record.end());
        if end != saved.bytes.len() || end > usize::from(u16::MAX) || saved.left > MOST_LEFT {
            return None;
        }
        let targets = Chain::walk(&message).targets;
        let mut entry = Self::lasting(saved.bytes.to_vec(), saved.rcode, saved.ede.to_vec(), now);
        entry.head.stored = now.checked_sub(saved.age)?;
        entry.head.expires = now.checked_add_signed(saved.left)?;
        let life = entry.head.expires.saturating_sub(entry.head.stored) / 1000;
        let known = Traits::LEADING | Traits::OF_FALLBACK | Traits::FAILURE;
        entry.head.traits = Traits(saved.traits.0 & known);
        entry.set_trait(Traits::HAS_TARGETS, !targets.is_empty());
        entry.head.lead = lead(u32::try_from(life).unwrap_or(u32::MAX));
        entry.targets = targets.into();
        entry.marks.set_asked(saved.asked);
        Some(entry)
    }

    /// The response as it is read.
    #[inline]
    pub fn kept(&self) -> Kept<'_> {
        let Self { head, bytes, ttls, ede, marks, .. } = self;
        Kept { head: *head, bytes, ttls, ede, marks }
    }

    fn set_trait(&mut self, bit: u8, set: bool) {
        self.head.traits.0 |= if set { bit } else { 0 };
    }

    /// Header, question and records.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The response code.
    #[inline]
    pub const fn rcode(&self) -> Rcode {
        self.head.rcode
    }

    /// The header's flags as the upstream set them.
    #[inline]
    pub fn flags(&self) -> Flags {
        self.kept().flags()
    }

    /// Extended errors as EDNS options.
    #[inline]
    pub fn ede(&self) -> &[u8] {
        &self.ede
    }

    /// Whole seconds since it arrived.
    pub fn age(&self, now: u64) -> u32 {
        self.kept().age(now)
    }

    /// Whether it still is an answer.
    pub fn is_fresh(&self, now: u64) -> bool {
        self.kept().is_fresh(now)
    }

    /// Whether it may be kept at all.
    pub const fn is_cacheable(&self) -> bool {
        self.head.expires > self.head.stored
    }

    /// The targets of its chain.
    #[inline]
    pub fn targets(&self) -> &[Name] {
        &self.targets
    }

    /// Whether it is a chain alone, whose last target the snapshot answered.
    #[inline]
    pub const fn is_leading(&self) -> bool {
        self.head.traits.has(Traits::LEADING)
    }

    /// Whether it is an upstream's failure.
    #[inline]
    pub const fn is_failure(&self) -> bool {
        self.head.traits.has(Traits::FAILURE)
    }

    /// Whether it lacks something.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        self.flags().has(Flags::TC)
    }

    /// Whether it has expired and stands in.
    #[inline]
    pub const fn is_stale(&self) -> bool {
        self.head.traits.has(Traits::STALE)
    }

    /// Marks it as the fallback's answer.
    #[must_use]
    pub fn of_fallback(mut self) -> Self {
        self.set_trait(Traits::OF_FALLBACK, true);
        self
    }

    /// Whether it is the fallback's answer.
    #[inline]
    pub const fn is_of_fallback(&self) -> bool {
        self.head.traits.has(Traits::OF_FALLBACK)
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
