//! Answers that go on at another name: below a DNAME, and behind the CNAME
//! that leads a missing name of ours to its private-link name.

use super::{Answer, Context, Hit, Lookup, Miss, Outcome};
use crate::snapshot::place::{login_name, private_name};
use crate::snapshot::{Entry, Snapshot};
use crate::wire::body::MAX_IN_PIECES;
use crate::wire::message::{Message, Section, expand_name};
use crate::wire::{Ede, Flags, HEADER_LEN, Name, Query, Rcode, Response, Rtype, rdata};

/// How often one answer may go on at another name (DNAME, then CNAME, ...).
const MAX_DEPTH: u8 = 8;
/// A pointer to the question's name.
const TO_QNAME: [u8; 2] = [0xc0, HEADER_LEN as u8];

/// Our whole answer for `name`, as a message with that question, however the
/// client of `context` asked; `None` where [`answer`](super::answer) misses. For the splice.
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
    let context = Context { view: context.view, is_client: context.is_client, ..Context::INTERNAL };
    let mut out = Response::new(&mut buf, room);
    let outcome = Answer { query: &query, context, snapshot, depth }.answer(&mut out);
    if matches!(outcome, Outcome::Miss(_)) {
        return None;
    }
    let len = out.len();
    buf.truncate(len);
    Some((outcome, buf))
}

impl Answer<'_> {
    /// A name of ours that no record covers, closed: denied under its
    /// private-link name, which a wildcard record may still cover.
    pub(super) fn own_missing(self, suffix_labels: usize, public: bool, out: &mut Response<'_>) -> Outcome {
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
    pub(super) fn dname(self, entry: Entry<'_>, out: &mut Response<'_>) -> Outcome {
        let name = self.query.qname.as_wire();
        // The body's owner is a pointer; type, class, TTL, length, RDATA follow.
        let mut room = [0; MAX_IN_PIECES];
        let record = entry.body(Rtype::DNAME).map(|body| body.joined(&mut room));
        let record = record.and_then(|record| record.get(TO_QNAME.len()..));
        let Some((record, rdata)) = record.and_then(|record| Some((record, record.get(10..)?))) else {
            return Outcome::Miss(Miss::Foreign);
        };
        let prefix = name.get(..name.len().saturating_sub(entry.name().len())).unwrap_or_default();
        let ttl = crate::wire::read_u32(record, 4).unwrap_or_default();
        self.begin(out);
        out.push_record(&entry.name(), record, Section::Answer, self.has_opt());
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
        self,
        target: &[u8],
        authoritative: bool,
        alone: Outcome,
        out: &mut Response<'_>,
    ) -> Outcome {
        let is_chain_alone = matches!(self.query.qtype, Rtype::CNAME | Rtype::ANY);
        let next = (self.depth < MAX_DEPTH && !is_chain_alone)
            .then(|| {
                let (context, depth) = (self.context, self.depth + 1);
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
    fn append(self, message: &[u8], out: &mut Response<'_>) {
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

    fn cname(self, ttl: u32, target: &[u8], out: &mut Response<'_>) {
        let ttl = ttl.to_be_bytes();
        let rest = [&[0, Rtype::CNAME.0 as u8, 0, 1], &ttl[..], &(target.len() as u16).to_be_bytes(), target];
        out.push_record(&TO_QNAME, &rest.concat(), Section::Answer, self.has_opt());
    }
}
