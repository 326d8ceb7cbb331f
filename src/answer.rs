//! The pure half of every response: query + context + snapshot -> outcome.
//!
//! A hit is one probe of the snapshot's table and one copy; everything else
//! (wildcards, names below others, DNAMEs, names of ours that are missing)
//! takes the slow path below, which may allocate and is bounded in depth.

mod onward;

pub use onward::answer_name;

use crate::snapshot::place::{NodeFlags, Place, Tree as _, place_missing};
use crate::snapshot::{Entry, Parts, Rest, Snapshot, Usual, ZoneSoa};
use crate::wire::message::Section;
use crate::wire::name::is_at_or_below;
use crate::wire::response::Closing;
use crate::wire::{Body, Class, Ede, Edns, Query, Rcode, Response, Rtype};

/// The transport that a query came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: size limits apply.
    Udp,
    /// TCP: up to 65,535 bytes.
    Tcp,
    /// DNS over TLS (RFC 7858): as TCP.
    Tls,
    /// DNS over HTTPS (RFC 8484): as TCP.
    Https,
    /// DNS over QUIC (RFC 9250): as TCP.
    Quic,
}

impl Transport {
    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
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
    /// The client's view: an index into the record set's views plus one; 0 for everybody else.
    pub view: u8,
    /// Whether a client asks: held names then count as asked for
    /// ([`Snapshot::take_asked`]). The answer is the same.
    pub is_client: bool,
}

impl Context {
    /// The context of a question that no client asks: over TCP, as everybody
    /// without a view gets it answered.
    pub const INTERNAL: Self = Self { transport: Transport::Tcp, udp_size: 1232, view: 0, is_client: false };

    /// The largest response that this client takes, in bytes.
    #[inline]
    pub fn limit(&self, query: &Query) -> usize {
        self.limit_with(query.edns)
    }

    /// [`Self::limit`] of a query with that OPT.
    #[inline]
    pub fn limit_with(self, edns: Option<Edns>) -> usize {
        match self.transport {
            Transport::Udp => usize::from(edns.map_or(512, |edns| edns.udp_size.min(self.udp_size))),
            _ => usize::from(u16::MAX),
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
#[expect(clippy::inline_always, reason = "a call costs a tenth of a hit, in registers saved")]
#[inline(always)]
pub fn answer(query: &Query, context: &Context, snapshot: &Snapshot, out: &mut Response<'_>) -> Outcome {
    Answer { query, context: *context, snapshot, depth: 0 }.answer(out)
}

/// Finishes a response without records: an error, or a refusal with `ede`.
/// Returns its length.
pub fn error(
    query: &Query,
    context: &Context,
    rcode: Rcode,
    ede: Option<Ede>,
    out: &mut Response<'_>,
) -> usize {
    let answer = Closer { query, context: *context };
    answer.begin(out);
    answer.finish(rcode, false, ede, out)
}

/// One query being answered. Passed by value, so that the usual path needs it nowhere in memory.
#[derive(Clone, Copy)]
struct Answer<'q> {
    query: &'q Query,
    context: Context,
    snapshot: &'q Snapshot,
    depth: u8,
}

impl<'q> Answer<'q> {
    #[expect(clippy::inline_always, reason = "as for the function of that name")]
    #[inline(always)]
    fn answer(self, out: &mut Response<'_>) -> Outcome {
        let qtype = self.query.qtype.0;
        let is_data = qtype < Rtype::OPT.0 || qtype > Rtype::OPT.0 && qtype & 0xfff8 != 0xf8;
        if self.query.qclass != Class::IN || !is_data {
            return unusual(self.query, self.context, self.snapshot, self.depth, out);
        }
        match self.snapshot.look_up(&self.query.qname, self.context.is_client) {
            Some(entry) => self.entry(entry, out),
            // Most of what is not ours is told from its last bytes.
            None if !(&self.snapshot).may_enclose(&self.query.qname) => Outcome::Miss(Miss::Foreign),
            None => missing(self.query, self.context, self.snapshot, self.depth, out),
        }
    }

    /// The answer of an existing name to a question for data.
    #[expect(clippy::inline_always, reason = "as for the function `answer`")]
    #[inline(always)]
    fn entry(self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        match if entry.is_shaped() { self.at_once(entry, out) } else { None } {
            Some(lookup) => Outcome::Hit(Hit { lookup, rcode: Rcode::NOERROR }),
            None => in_parts(self.query, self.context, self.snapshot, self.depth, entry.parts(), out),
        }
    }

    /// What nearly all questions for data of held names get, ready records alone; `None`, with
    /// nothing written, for the rest. Nothing here needs `entry` or `self` in memory.
    #[expect(clippy::inline_always, reason = "a call costs a fifth of a hit: everything is at hand here")]
    #[inline(always)]
    fn at_once(self, entry: Entry<'_>, out: &mut Response<'_>) -> Option<Lookup> {
        match entry.usual(self.query.qtype)? {
            Usual::Body(body) => self.write(entry, body, None, out).then_some(Lookup::Found),
            Usual::Chain(chain) if entry.denies_simply() => {
                let zone = self.snapshot.zones().get(entry.zone())?;
                let authority = Some((entry.soa_owner()?, &*zone.record));
                self.write(entry, chain, authority, out).then_some(Lookup::NoData)
            }
            Usual::Chain(_) => None,
        }
    }

    /// The response of one body, and of one authority record with its owner a pointer; `false`
    /// where something has to be left out.
    #[expect(clippy::inline_always, reason = "as for `at_once`")]
    #[inline(always)]
    fn write(
        self,
        entry: Entry<'_>,
        body: Body<'_>,
        authority: Option<([u8; 2], &[u8])>,
        out: &mut Response<'_>,
    ) -> bool {
        let authoritative = entry.flags().any(NodeFlags::IN_ZONE);
        // Told apart here once, not at each of the places where it matters.
        match self.query.edns {
            None => self.write_with(None, authoritative, body, authority, out),
            edns => self.write_with(edns, authoritative, body, authority, out),
        }
    }

    #[expect(clippy::inline_always, reason = "as for `write`")]
    #[inline(always)]
    fn write_with(
        self,
        edns: Option<Edns>,
        authoritative: bool,
        body: Body<'_>,
        authority: Option<([u8; 2], &[u8])>,
        out: &mut Response<'_>,
    ) -> bool {
        let closer = Closer { query: self.query, context: self.context };
        let closing = Closing { edns, ..closer.closing(Rcode::NOERROR, authoritative, None) };
        let limit = self.context.limit_with(edns);
        out.write_whole(limit, self.query.question_end, &body, authority, &closing)
    }

    /// The answer of an existing name, or of the wildcard that stands for it, in as many steps as
    /// it takes. ANY gets one type (RFC 8482), the CNAME if there is one.
    fn in_parts(self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let found = match entry.body(self.query.qtype) {
            None if self.query.qtype == Rtype::ANY => entry.body(Rtype::CNAME).or_else(|| entry.first_body()),
            found => found,
        };
        let Some(body) = found else { return self.without_body(entry, out) };
        self.begin(out);
        self.push(body, out);
        self.finish(Rcode::NOERROR, entry.flags().any(NodeFlags::IN_ZONE), None, out);
        Outcome::Hit(Hit { lookup: Lookup::Found, rcode: Rcode::NOERROR })
    }

    /// The answer of a name that has nothing of the type asked for.
    fn without_body(self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let authoritative = entry.flags().any(NodeFlags::IN_ZONE);
        let (lookup, rcode, ede) = match entry.rest() {
            Rest::NoData => (Lookup::NoData, Rcode::NOERROR, None),
            Rest::NxDomain if entry.is_own_missing() => {
                (Lookup::OwnMissing, Rcode::NXDOMAIN, Some(Ede::OWN_MISSING))
            }
            Rest::NxDomain => (Lookup::NxDomain, Rcode::NXDOMAIN, None),
            Rest::Forward => return Outcome::Miss(Miss::Foreign),
            Rest::Leads => {
                self.begin(out);
                self.push(entry.chain(), out);
                self.finish(Rcode::NOERROR, authoritative, None, out);
                return Outcome::Leads;
            }
        };
        self.begin(out);
        self.push(entry.chain(), out);
        if let Some(zone) = self.snapshot.zones().get(entry.zone()) {
            match entry.soa_owner() {
                Some(pointer) => {
                    out.push_record(&pointer, zone.behind_owner(), Section::Authority, self.has_opt());
                }
                None => self.soa(zone.apex.as_wire(), zone, out),
            }
        }
        self.finish(rcode, authoritative, ede, out);
        Outcome::Hit(Hit { lookup, rcode })
    }

    /// The answer where no node has the name.
    fn missing(self, out: &mut Response<'_>) -> Outcome {
        match place_missing(&self.snapshot, &self.query.qname) {
            Place::Outside => Outcome::Miss(Miss::Foreign),
            Place::Exact(entry) | Place::Wildcard(entry) => {
                self.asked(&entry.name());
                self.in_parts(entry.in_view(self.context.view), out)
            }
            Place::Denied(encloser) => self.denied(encloser.in_view(self.context.view), out),
            Place::Dname(entry) => {
                self.asked(&entry.name());
                self.dname(entry.in_view(self.context.view), out)
            }
            Place::OwnMissing { .. } if self.snapshot.forwards_own_missing() => Outcome::Miss(Miss::Own),
            Place::OwnMissing { suffix_labels, public } => self.own_missing(suffix_labels, public, out),
        }
    }

    /// Counts `name` as asked for by a client.
    fn asked(self, name: &[u8]) {
        if self.context.is_client {
            self.snapshot.mark_asked(name);
        }
    }

    /// NXDOMAIN: nothing exists below `encloser` by that name.
    fn denied(self, encloser: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let authoritative = encloser.flags().any(NodeFlags::IN_ZONE);
        self.begin(out);
        if let Some(zone) = self.snapshot.zones().get(encloser.zone()) {
            // A public alias lies in no zone of ours; the SOA then claims no
            // more than the alias itself, since its owner must lie at or
            // above the name denied (RFC 2308 section 5).
            if authoritative {
                self.soa(zone.apex.as_wire(), zone, out);
            } else {
                self.soa(&encloser.name(), zone, out);
            }
        }
        self.finish(Rcode::NXDOMAIN, authoritative, None, out);
        Outcome::Hit(Hit { lookup: Lookup::NxDomain, rcode: Rcode::NXDOMAIN })
    }

    /// Other classes and types that are no data.
    #[cold]
    fn unusual(self, out: &mut Response<'_>) -> Outcome {
        let (qtype, qclass) = (self.query.qtype, self.query.qclass);
        let refused = match qtype {
            Rtype::OPT => Some(Rcode::FORMERR),
            // Transfers have their own service; TKEY and TSIG ask for nothing here.
            Rtype::TKEY | Rtype::TSIG | Rtype::IXFR | Rtype::AXFR => Some(Rcode::REFUSED),
            _ if qclass == Class::IN || qclass == Class::ANY => None,
            // What servers say about themselves is not the upstream's to say for us.
            _ if qclass == Class::CH && self.is_below(&[b"\x04bind\0", b"\x06server\0"]) => {
                Some(Rcode::REFUSED)
            }
            _ if qclass == Class::NONE || self.is_local() => Some(Rcode::REFUSED),
            _ => return Outcome::Miss(Miss::Foreign),
        };
        let Some(rcode) = refused else {
            return match self.snapshot.look_up(&self.query.qname, self.context.is_client) {
                Some(entry) => self.in_parts(entry.in_view(self.context.view), out),
                None => self.missing(out),
            };
        };
        self.begin(out);
        let ede = (rcode == Rcode::REFUSED).then_some(Ede::NOT_SUPPORTED);
        self.finish(rcode, false, ede, out);
        Outcome::Hit(Hit { lookup: Lookup::Refused, rcode })
    }

    fn is_below(self, names: &[&[u8]]) -> bool {
        names.iter().any(|name| is_at_or_below(self.query.qname.as_wire(), name))
    }

    fn is_local(self) -> bool {
        self.snapshot.find(&self.query.qname).is_some()
            || !matches!(place_missing(&self.snapshot, &self.query.qname), Place::Outside)
    }

    /// The most specific zone at or above `name`.
    fn zone_above(self, name: &[u8]) -> Option<&'q ZoneSoa> {
        self.snapshot.zones().iter().find(|zone| is_at_or_below(name, zone.apex.as_wire()))
    }

    fn soa(self, owner: &[u8], zone: &ZoneSoa, out: &mut Response<'_>) {
        out.push_record(owner, zone.behind_owner(), Section::Authority, self.has_opt());
    }

    #[inline]
    const fn has_opt(self) -> bool {
        self.query.edns.is_some()
    }

    #[inline]
    fn begin(self, out: &mut Response<'_>) {
        Closer { query: self.query, context: self.context }.begin(out);
    }

    #[inline]
    fn push(self, body: Body<'_>, out: &mut Response<'_>) {
        out.push(&body, Section::Answer, self.has_opt());
    }

    #[inline]
    fn finish(self, rcode: Rcode, authoritative: bool, ede: Option<Ede>, out: &mut Response<'_>) -> usize {
        // Of every class at once nobody has authority (RFC 1035 section 6.2).
        let authoritative = authoritative && self.query.qclass == Class::IN;
        Closer { query: self.query, context: self.context }.finish(rcode, authoritative, ede, out)
    }
}

// The steps that are not usual, called with what [`Answer`] holds: it would
// have to lie in memory to be handed over whole, also where none is taken.

#[cold]
fn unusual(
    query: &Query,
    context: Context,
    snapshot: &Snapshot,
    depth: u8,
    out: &mut Response<'_>,
) -> Outcome {
    Answer { query, context, snapshot, depth }.unusual(out)
}

#[inline(never)]
fn missing(
    query: &Query,
    context: Context,
    snapshot: &Snapshot,
    depth: u8,
    out: &mut Response<'_>,
) -> Outcome {
    Answer { query, context, snapshot, depth }.missing(out)
}

/// The answer of an entry that shares no shape, which the client's view may have a variant of, or that takes
/// more than one copy.
#[inline(never)]
fn in_parts(
    query: &Query,
    context: Context,
    snapshot: &Snapshot,
    depth: u8,
    parts: Parts<'_>,
    out: &mut Response<'_>,
) -> Outcome {
    let answer = Answer { query, context, snapshot, depth };
    let entry = Entry::from_parts(parts).in_view(context.view);
    match answer.at_once(entry, out) {
        Some(lookup) => Outcome::Hit(Hit { lookup, rcode: Rcode::NOERROR }),
        None => answer.in_parts(entry, out),
    }
}

/// What every response of our own making opens and ends with.
struct Closer<'q> {
    query: &'q Query,
    context: Context,
}

impl Closer<'_> {
    #[inline]
    fn begin(&self, out: &mut Response<'_>) {
        out.set_limit(self.context.limit(self.query));
        out.begin(self.query.question_end);
    }

    #[inline]
    fn finish(&self, rcode: Rcode, authoritative: bool, ede: Option<Ede>, out: &mut Response<'_>) -> usize {
        out.finish(&self.closing(rcode, authoritative, ede))
    }

    #[inline]
    const fn closing(&self, rcode: Rcode, authoritative: bool, ede: Option<Ede>) -> Closing {
        Closing {
            query_flags: self.query.flags,
            rcode,
            authoritative,
            authentic: false,
            edns: self.query.edns,
            udp_size: self.context.udp_size,
            ede,
        }
    }
}
