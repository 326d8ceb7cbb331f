//! The pure half of every response: query + context + snapshot -> outcome.
//!
//! A hit is one probe of the snapshot's table and one copy; everything else
//! (wildcards, names below others, DNAMEs, names of ours that are missing)
//! takes the slow path below, which may allocate and is bounded in depth.

use crate::snapshot::place::{NodeFlags, Place, login_name, place_missing, private_name};
use crate::snapshot::{Body, Entry, Rest, Snapshot, ZoneSoa};
use crate::wire::message::{Message, Section, expand_name};
use crate::wire::name::is_at_or_below;
use crate::wire::response::Closing;
use crate::wire::{Class, Ede, Flags, HEADER_LEN, Name, Query, Rcode, Response, Rtype, rdata};

/// How often one answer may go on at another name (DNAME, then CNAME, ...).
const MAX_DEPTH: u8 = 8;
/// A pointer to the question's name.
const TO_QNAME: [u8; 2] = [0xc0, HEADER_LEN as u8];

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
#[inline]
pub fn answer(query: &Query, context: &Context, snapshot: &Snapshot, out: &mut Response<'_>) -> Outcome {
    Answer { query, context, snapshot, depth: 0 }.answer(out)
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
    let answer = Closer { query, context };
    answer.begin(out);
    answer.finish(rcode, false, ede, out)
}

/// Our whole answer for `name`, as a message with that question, however the
/// client of `context` asked; `None` where [`answer`] misses. For the splice.
pub fn answer_name(
    name: &Name,
    qtype: Rtype,
    context: Context,
    snapshot: &Snapshot,
) -> Option<(Outcome, Vec<u8>)> {
    answer_wire(name.as_wire(), qtype, context, snapshot, 0, usize::from(u16::MAX))
}

/// [`answer_name`] for a wire-form name, in at most `room` bytes.
fn answer_wire(
    name: &[u8],
    qtype: Rtype,
    context: Context,
    snapshot: &Snapshot,
    depth: u8,
    room: usize,
) -> Option<(Outcome, Vec<u8>)> {
    let mut buf = vec![0; room.max(HEADER_LEN + 512)];
    let question = [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &qtype.0.to_be_bytes(), &[0, 1]].concat();
    buf.get_mut(..question.len())?.copy_from_slice(&question);
    let query = Query::parse(&question).ok()?;
    let context = &Context { view: context.view, is_client: context.is_client, ..Context::INTERNAL };
    let mut out = Response::new(&mut buf, room);
    let outcome = Answer { query: &query, context, snapshot, depth }.answer(&mut out);
    if matches!(outcome, Outcome::Miss(_)) {
        return None;
    }
    let len = out.len();
    buf.truncate(len);
    Some((outcome, buf))
}

/// One query being answered.
struct Answer<'q> {
    query: &'q Query,
    context: &'q Context,
    snapshot: &'q Snapshot,
    depth: u8,
}

impl Answer<'_> {
    #[inline]
    fn answer(&self, out: &mut Response<'_>) -> Outcome {
        let is_usual = self.query.qclass == Class::IN
            && self.query.qtype != Rtype::OPT
            && self.query.qtype.0 & 0xfff8 != 0xf8;
        if !is_usual && let Some(outcome) = self.unusual(out) {
            return outcome;
        }
        match self.snapshot.look_up(&self.query.qname, self.context.is_client) {
            Some(entry) => self.entry(entry, out),
            None => self.missing(out),
        }
    }

    /// The answer of an existing name, or of the wildcard that stands for it.
    #[inline]
    fn entry(&self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        if self.context.view != 0 {
            return self.entry_in_view(entry, out);
        }
        self.usual_entry(entry, out)
    }

    /// [`Self::entry`] for a client with a view, apart so that others do not pay for it.
    #[inline(never)]
    fn entry_in_view(&self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        self.usual_entry(entry.in_view(self.context.view), out)
    }

    #[inline]
    fn usual_entry(&self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let found = match entry.body(self.query.qtype) {
            None if self.query.qtype == Rtype::ANY => entry.body(Rtype::CNAME).or_else(|| entry.first_body()),
            found => found,
        };
        let authoritative = entry.flags().any(NodeFlags::IN_ZONE);
        if let Some(body) = found {
            self.begin(out);
            self.push(body, out);
            self.finish(Rcode::NOERROR, authoritative, None, out);
            return Outcome::Hit(Hit { lookup: Lookup::Found, rcode: Rcode::NOERROR });
        }
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
                Some(pointer) => out.push_record(&pointer, &zone.record, Section::Authority, self.has_opt()),
                None => self.soa(zone.apex.as_wire(), zone, out),
            }
        }
        self.finish(rcode, authoritative, ede, out);
        Outcome::Hit(Hit { lookup, rcode })
    }

    /// The answer where no node has the name.
    #[inline(never)]
    fn missing(&self, out: &mut Response<'_>) -> Outcome {
        match place_missing(&self.snapshot, &self.query.qname) {
            Place::Outside => Outcome::Miss(Miss::Foreign),
            Place::Exact(entry) | Place::Wildcard(entry) => {
                self.asked(entry.name());
                self.entry(entry, out)
            }
            Place::Denied(encloser) => self.denied(encloser.in_view(self.context.view), out),
            Place::Dname(entry) => {
                self.asked(entry.name());
                self.dname(entry.in_view(self.context.view), out)
            }
            Place::OwnMissing { .. } if self.snapshot.forwards_own_missing() => Outcome::Miss(Miss::Own),
            Place::OwnMissing { suffix_labels, public } => self.own_missing(suffix_labels, public, out),
        }
    }

    /// Counts `name` as asked for by a client.
    fn asked(&self, name: &[u8]) {
        if self.context.is_client {
            self.snapshot.mark_asked(name);
        }
    }

    /// NXDOMAIN: nothing exists below `encloser` by that name.
    fn denied(&self, encloser: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let authoritative = encloser.flags().any(NodeFlags::IN_ZONE);
        self.begin(out);
        if let Some(zone) = self.snapshot.zones().get(encloser.zone()) {
            // A public alias lies in no zone of ours; the SOA then claims no
            // more than the alias itself, since its owner must lie at or
            // above the name denied (RFC 2308 section 5).
            let owner = if authoritative { zone.apex.as_wire() } else { encloser.name() };
            self.soa(owner, zone, out);
        }
        self.finish(Rcode::NXDOMAIN, authoritative, None, out);
        Outcome::Hit(Hit { lookup: Lookup::NxDomain, rcode: Rcode::NXDOMAIN })
    }

    /// A name of ours that no record covers, closed: denied under its
    /// private-link name, which a wildcard record may still cover.
    fn own_missing(&self, suffix_labels: usize, public: bool, out: &mut Response<'_>) -> Outcome {
        let name = self.query.qname.as_wire();
        if let Some(login) = login_name(name, suffix_labels) {
            self.asked(&login);
        }
        let hit = Outcome::Hit(Hit { lookup: Lookup::OwnMissing, rcode: Rcode::NXDOMAIN });
        let private = if public { private_name(name, suffix_labels) } else { None };
        let zone = self.zone_above(private.as_deref().unwrap_or(name));
        self.begin(out);
        if let Some(private) = private {
            self.cname(zone.map_or(10, |zone| zone.negative_ttl), &private, out);
            return self.continue_at(&private, false, hit, out);
        }
        if let Some(zone) = zone {
            self.soa(zone.apex.as_wire(), zone, out);
        }
        self.finish(Rcode::NXDOMAIN, true, Some(Ede::OWN_MISSING), out);
        hit
    }

    /// A name below a DNAME (RFC 6672 section 3.2).
    fn dname(&self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let name = self.query.qname.as_wire();
        // The body's owner is a pointer; type, class, TTL, length, RDATA follow.
        let record = entry.body(Rtype::DNAME).and_then(|body| body.bytes.get(TO_QNAME.len()..));
        let Some((record, rdata)) = record.and_then(|record| Some((record, record.get(10..)?))) else {
            return Outcome::Miss(Miss::Foreign);
        };
        let prefix = name.get(..name.len().saturating_sub(entry.name().len())).unwrap_or_default();
        let ttl = crate::wire::read_u32(record, 4).unwrap_or_default();
        self.begin(out);
        out.push_record(entry.name(), record, Section::Answer, self.has_opt());
        let target = [prefix, rdata].concat();
        if Name::from_wire(&target).is_err() {
            // The name became too long: YXDOMAIN.
            self.finish(Rcode(6), true, None, out);
            return Outcome::Hit(Hit { lookup: Lookup::NxDomain, rcode: Rcode(6) });
        }
        self.cname(ttl, &target, out);
        let hit = Outcome::Hit(Hit { lookup: Lookup::Found, rcode: Rcode::NOERROR });
        self.continue_at(&target, true, hit, out)
    }

    /// Goes on behind a CNAME just written, with our answer at `target`.
    fn continue_at(
        &self,
        target: &[u8],
        authoritative: bool,
        alone: Outcome,
        out: &mut Response<'_>,
    ) -> Outcome {
        let is_chain_alone = matches!(self.query.qtype, Rtype::CNAME | Rtype::ANY);
        let next = (self.depth < MAX_DEPTH && !is_chain_alone)
            .then(|| {
                let (context, depth) = (*self.context, self.depth + 1);
                answer_wire(target, self.query.qtype, context, self.snapshot, depth, out.limit())
            })
            .flatten();
        let Some((outcome, message)) = next else {
            self.finish(Rcode::NOERROR, authoritative, None, out);
            return if is_chain_alone || self.depth >= MAX_DEPTH { alone } else { Outcome::Leads };
        };
        self.append(&message, out);
        let (rcode, ede) = match outcome {
            Outcome::Hit(hit) => (hit.rcode, (hit.lookup == Lookup::OwnMissing).then_some(Ede::OWN_MISSING)),
            Outcome::Miss(_) | Outcome::Leads => (Rcode::NOERROR, None),
        };
        self.finish(rcode, authoritative, ede, out);
        outcome
    }

    /// Appends answer and authority of another of our messages.
    fn append(&self, message: &[u8], out: &mut Response<'_>) {
        let Some(parsed) = Message::parse(message) else { return };
        for record in parsed.records().filter(|record| record.section != Section::Additional) {
            let mut owner = [0u8; 255];
            let mut data = Vec::new();
            let expanded = expand_name(message, record.owner_at, &mut owner);
            let Some((len, _)) = expanded else { return };
            if rdata::expand(message, record.rtype, record.rdata.clone(), &mut data).is_none() {
                return;
            }
            let fixed = message.get(record.ttl_at - 4..record.ttl_at + 4).unwrap_or_default();
            let rest = [fixed, &(data.len() as u16).to_be_bytes(), &data].concat();
            out.push_record(owner.get(..len).unwrap_or_default(), &rest, record.section, self.has_opt());
        }
        if parsed.flags().has(Flags::TC) {
            out.set_truncated();
        }
    }

    /// Other classes and types that are no data; `None` for a usual question after all.
    #[cold]
    fn unusual(&self, out: &mut Response<'_>) -> Option<Outcome> {
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
            _ => return Some(Outcome::Miss(Miss::Foreign)),
        };
        let rcode = refused?;
        self.begin(out);
        let ede = (rcode == Rcode::REFUSED).then_some(Ede::NOT_SUPPORTED);
        self.finish(rcode, false, ede, out);
        Some(Outcome::Hit(Hit { lookup: Lookup::Refused, rcode }))
    }

    fn is_below(&self, names: &[&[u8]]) -> bool {
        names.iter().any(|name| is_at_or_below(self.query.qname.as_wire(), name))
    }

    fn is_local(&self) -> bool {
        self.snapshot.find(&self.query.qname).is_some()
            || !matches!(place_missing(&self.snapshot, &self.query.qname), Place::Outside)
    }

    /// The most specific zone at or above `name`.
    fn zone_above(&self, name: &[u8]) -> Option<&ZoneSoa> {
        self.snapshot.zones().iter().find(|zone| is_at_or_below(name, zone.apex.as_wire()))
    }

    fn cname(&self, ttl: u32, target: &[u8], out: &mut Response<'_>) {
        let ttl = ttl.to_be_bytes();
        let rest = [&[0, Rtype::CNAME.0 as u8, 0, 1], &ttl[..], &(target.len() as u16).to_be_bytes(), target];
        out.push_record(&TO_QNAME, &rest.concat(), Section::Answer, self.has_opt());
    }

    fn soa(&self, owner: &[u8], zone: &ZoneSoa, out: &mut Response<'_>) {
        out.push_record(owner, &zone.record, Section::Authority, self.has_opt());
    }

    #[inline]
    const fn has_opt(&self) -> bool {
        self.query.edns.is_some()
    }

    #[inline]
    fn begin(&self, out: &mut Response<'_>) {
        Closer { query: self.query, context: self.context }.begin(out);
    }

    #[inline]
    fn push(&self, body: Body<'_>, out: &mut Response<'_>) {
        out.push(body.bytes, body.count, Section::Answer, self.has_opt());
    }

    #[inline]
    fn finish(&self, rcode: Rcode, authoritative: bool, ede: Option<Ede>, out: &mut Response<'_>) -> usize {
        Closer { query: self.query, context: self.context }.finish(rcode, authoritative, ede, out)
    }
}

/// What every response of our own making opens and ends with.
struct Closer<'q> {
    query: &'q Query,
    context: &'q Context,
}

impl Closer<'_> {
    #[inline]
    fn begin(&self, out: &mut Response<'_>) {
        out.set_limit(self.context.limit(self.query));
        out.begin(self.query.question_end);
    }

    #[inline]
    fn finish(&self, rcode: Rcode, authoritative: bool, ede: Option<Ede>, out: &mut Response<'_>) -> usize {
        out.finish(&Closing {
            query_flags: Flags(self.query.flags.0),
            rcode,
            authoritative,
            authentic: false,
            edns: self.query.edns,
            udp_size: self.context.udp_size,
            ede,
        })
    }
}
