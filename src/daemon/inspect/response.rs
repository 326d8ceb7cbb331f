//! A response of ours, asked for as a client would by TCP, in text.

use crate::admin::view::ResponseRow;
use crate::answer::{Context, Miss, Outcome, answer};
use crate::snapshot::Snapshot;
use crate::wire::message::{Message, Record, Section};
use crate::wire::{Flags, Name, Query, Response, Rtype, rdata};

/// Asks `snapshot` with RD set, as a client of `view`; the response unless it is a miss.
pub(super) fn ask(name: &Name, rtype: Rtype, view: u8, snapshot: &Snapshot) -> (Outcome, Option<Vec<u8>>) {
    let mut question = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(name.as_wire());
    question.extend_from_slice(&rtype.0.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    let Ok(query) = Query::parse(&question) else {
        return (Outcome::Miss(Miss::Foreign), None);
    };
    let mut buf = question;
    buf.resize(usize::from(u16::MAX), 0);
    let context = Context { view, ..Context::INTERNAL };
    let mut out = Response::new(&mut buf, usize::from(u16::MAX));
    let outcome = answer(&query, &context, snapshot, &mut out);
    let len = out.len();
    buf.truncate(len);
    (outcome, (!matches!(outcome, Outcome::Miss(_))).then_some(buf))
}

/// A response that has been read.
#[derive(Debug)]
pub(super) struct Read {
    /// Its text.
    pub(super) row: ResponseRow,
    /// The owner names and CNAME targets of its answer section.
    pub(super) names: Vec<Name>,
    /// The last target of its chain.
    pub(super) leads_to: Option<Name>,
}

/// Reads `bytes`; nothing if they are no whole message.
pub(super) fn read(bytes: &[u8]) -> Option<Read> {
    let message = Message::parse(bytes)?;
    let mut row = ResponseRow { rcode: message.rcode().to_string(), ..ResponseRow::default() };
    let flags = message.flags();
    let letters =
        [(Flags::QR, "qr"), (Flags::AA, "aa"), (Flags::TC, "tc"), (Flags::RD, "rd"), (Flags::RA, "ra")];
    row.flags =
        letters.iter().filter(|(bit, _)| flags.has(*bit)).map(|(_, name)| (*name).to_owned()).collect();
    let (mut names, mut leads_to) = (Vec::new(), None);
    for record in message.records() {
        let line = line(&message, &record)?;
        match record.section {
            Section::Answer => {
                row.answer.push(line);
                names.push(message.owner(&record)?.to_name());
                if record.rtype == Rtype::CNAME {
                    let target = message.rdata_name(&record)?.to_name();
                    names.push(target.clone());
                    leads_to = Some(target);
                }
            }
            Section::Authority => row.authority.push(line),
            Section::Additional => {}
        }
    }
    Some(Read { row, names, leads_to })
}

/// `owner TTL class type RDATA`, names with their final dot as in a master file.
fn line(message: &Message<'_>, record: &Record) -> Option<String> {
    let owner = message.owner(record)?.to_name();
    let mut data = Vec::new();
    rdata::expand(message.bytes(), record.rtype, record.rdata.clone(), &mut data)?;
    let dot = if owner.is_root() { "" } else { "." };
    let data = rdata::to_text(record.rtype, &data);
    Some(format!("{owner}{dot} {} {} {} {data}", record.ttl, record.class, record.rtype))
}
