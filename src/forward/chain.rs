//! Where the answer section of a response leads: CNAME and DNAME chains.

use crate::wire::message::{Message, MessageBuilder, Record, Section};
use crate::wire::{Flags, HEADER_LEN, Name, Rcode, Rtype, read_u16};

/// Longest chain that is followed within one message. Public registry chains
/// have up to six names; what is longer is a mistake or an attack.
pub const MAX_CHAIN: usize = 16;

/// Most CNAME and DNAME records of one message that are looked at.
const MAX_ALIASES: usize = 64;

/// A chain, followed from QNAME through one answer section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The targets in order; empty when QNAME has no CNAME, and for QTYPE
    /// CNAME and ANY, where a CNAME is the answer and leads nowhere.
    pub targets: Vec<Name>,
    /// Whether the last name has a record of QTYPE.
    pub answered: bool,
    /// Whether the chain meets itself or is longer than [`MAX_CHAIN`].
    pub looped: bool,
}

impl Chain {
    /// Follows the chain of `message`.
    pub fn walk(message: &Message<'_>) -> Self {
        let Some(qname) = message.qname().map(|name| name.to_name()) else {
            return Self::default();
        };
        let qtype = message.qtype();
        let mut chain = Self::default();
        if qtype != Rtype::CNAME && qtype != Rtype::ANY {
            chain.follow(message, &qname);
        }
        let last = chain.targets.last().unwrap_or(&qname);
        chain.answered = answers(message).any(|record| {
            (record.rtype == qtype || qtype == Rtype::ANY)
                && message.owner(&record).is_some_and(|owner| owner.as_wire() == last.as_wire())
        });
        chain
    }

    fn follow(&mut self, message: &Message<'_>, qname: &Name) {
        let aliases = aliases(message);
        let mut current = qname.clone();
        while let Some(target) = step(&aliases, &current) {
            if target == *qname || self.targets.contains(&target) || self.targets.len() >= MAX_CHAIN {
                self.looped = true;
                return;
            }
            self.targets.push(target.clone());
            current = target;
        }
    }

    /// Whether `message`, whose chain this is, stops half way: Azure DNS
    /// leaves out the end of a chain without setting TC.
    pub fn is_incomplete(&self, message: &Message<'_>) -> bool {
        message.rcode() == Rcode::NOERROR
            && !self.targets.is_empty()
            && !self.answered
            && !self.looped
            && !message.records().any(|r| r.section == Section::Authority && r.rtype == Rtype::SOA)
    }
}

fn answers<'a>(message: &'a Message<'_>) -> impl Iterator<Item = Record> + 'a {
    message.records().take_while(|record| record.section == Section::Answer)
}

/// Owner, type and target of the CNAME and DNAME records of the answer section.
fn aliases(message: &Message<'_>) -> Vec<(Name, Rtype, Name)> {
    answers(message)
        .filter(|record| matches!(record.rtype, Rtype::CNAME | Rtype::DNAME))
        .filter_map(|record| {
            let owner = message.owner(&record)?.to_name();
            Some((owner, record.rtype, message.rdata_name(&record)?.to_name()))
        })
        .take(MAX_ALIASES)
        .collect()
}

/// The next name: by CNAME, else by the substitution of a DNAME above
/// (RFC 6672 section 2.2), since a sender may leave the synthesized CNAME out.
fn step(aliases: &[(Name, Rtype, Name)], current: &Name) -> Option<Name> {
    let by_cname = aliases.iter().find(|(owner, rtype, _)| *rtype == Rtype::CNAME && owner == current);
    if let Some((_, _, target)) = by_cname {
        return Some(target.clone());
    }
    let (owner, _, target) = aliases.iter().find(|(owner, rtype, _)| {
        *rtype == Rtype::DNAME && owner != current && current.is_at_or_below(owner)
    })?;
    target.with_prefix(current.strip_suffix(owner)?).ok()
}

/// Copies the part of `message`'s answer section that leads to
/// `targets[cut]`, without the records of that name and of those behind it.
/// TTLs are lowered by `age` seconds.
pub fn push_chain(builder: &mut MessageBuilder, bytes: &[u8], targets: &[Name], cut: usize, age: u32) {
    let Some(message) = Message::parse(bytes) else { return };
    let Some(qname) = message.qname().map(|name| name.to_name()) else { return };
    let names: Vec<&Name> = std::iter::once(&qname).chain(targets.iter().take(cut)).collect();
    for record in answers(&message) {
        let Some(owner) = message.owner(&record).map(|name| name.to_name()) else { continue };
        // An RRSIG goes with the CNAME or DNAME that it covers.
        let rtype = match record.rtype {
            Rtype::RRSIG => Rtype(read_u16(bytes, record.rdata.start).unwrap_or_default()),
            other => other,
        };
        let leads = match rtype {
            Rtype::CNAME => names.contains(&&owner),
            Rtype::DNAME => names.iter().any(|name| **name != owner && name.is_at_or_below(&owner)),
            _ => false,
        };
        if leads {
            builder.push(bytes, &record, Section::Answer, record.ttl.saturating_sub(age));
        }
    }
}

/// Copies the records of `section`, TTLs lowered by `age` seconds.
pub fn push_section(builder: &mut MessageBuilder, bytes: &[u8], section: Section, age: u32) {
    let Some(message) = Message::parse(bytes) else { return };
    for record in message.records().filter(|record| record.section == section) {
        builder.push(bytes, &record, section, record.ttl.saturating_sub(age));
    }
}

/// A builder whose question is that of `bytes`.
pub fn builder_like(bytes: &[u8], flags: Flags) -> Option<MessageBuilder> {
    let message = Message::parse(bytes)?;
    let question = bytes.get(HEADER_LEN..message.question_end().checked_sub(4)?)?;
    MessageBuilder::new(flags, question, message.qtype(), message.qclass())
}

/// The message that holds the chain of `bytes` up to `targets[cut]` alone.
pub fn cut(bytes: &[u8], targets: &[Name], cut: usize) -> Option<Vec<u8>> {
    let mut builder = builder_like(bytes, Flags(Flags::QR | Flags::RA))?;
    push_chain(&mut builder, bytes, targets, cut, 0);
    Some(builder.finish())
}
