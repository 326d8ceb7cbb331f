//! One pass over what an upstream sent: is it the response, is it whole, and
//! what does the rest of the engine have to know of it.
//!
//! Nothing is read twice: places of TTLs, extended errors, the SOA of a denial
//! and whether there is a chain to follow are noted on the way. A response
//! that leads nowhere of ours goes from the buffer of its datagram into the
//! cache and to the clients, and nothing is allocated for it.

use crate::metrics::forward::Mismatch;
use crate::wire::edns::{Edns, OPTION_EDE};
use crate::wire::message::{NameWalk, Section, read_name};
use crate::wire::name::is_at_or_below;
use crate::wire::{Class, Flags, HEADER_LEN, Name, Rcode, Rtype, header, rdata, read_u16, read_u32};

use super::entry::TtlBounds;
use super::kept::{Head, Kept, Marks, Traits, lead};

/// Most bytes of extended errors that are kept of one response.
const MAX_EDE: usize = 512;
/// Length of a record's fixed fields behind its owner.
const FIXED: usize = 10;

/// What the pass needs besides the message; used again for the next one.
#[derive(Debug, Default)]
pub struct Scratch {
    names: NameWalk,
    /// Offsets of the TTLs, two bytes each, big-endian.
    ttls: Vec<u8>,
    /// TTLs that are to be served lower than they came.
    lower: Vec<(usize, u32)>,
    /// Extended errors as EDNS options.
    pub(super) ede: Vec<u8>,
}

/// The SOA that a denial carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Soa {
    owner_at: usize,
    /// The smaller of its TTL and MINIMUM (RFC 2308 section 5).
    ttl: u32,
}

/// What a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where the question ends.
    pub question_end: usize,
    /// Where the records end, without the OPT if it was the last.
    pub end: usize,
    /// The response code, EDNS bits included.
    pub rcode: Rcode,
    /// Whether TC is set.
    pub truncated: bool,
    /// Whether the answer section has a CNAME or DNAME that may be followed.
    pub aliases: bool,
    /// Whether the answer section has what was asked, under QNAME.
    pub answered: bool,
    /// Whether it must be written anew before it is kept or sent.
    pub rewrite: bool,
    /// The smallest TTL of the answer section.
    answer_ttl: Option<u32>,
    soa: Option<Soa>,
}

/// Reads `bytes`, a response whose id has been compared, to the question of
/// `name` (wire form, folded). What is to be kept of it is the part up to
/// [`Facts::end`]: the header's counts and the TTLs in it are made those that
/// are served, unless the whole must be rewritten; AD is cleared.
pub fn read(
    bytes: &mut [u8],
    name: &[u8],
    qtype: Rtype,
    qclass: Class,
    scratch: &mut Scratch,
) -> Result<Facts, Mismatch> {
    let counts = header::counts(bytes).ok_or(Mismatch::Short)?;
    let question_end = HEADER_LEN + name.len() + 4;
    let qname = bytes.get(HEADER_LEN..question_end - 4).ok_or(Mismatch::Question)?;
    if counts.question != 1
        || !qname.eq_ignore_ascii_case(name)
        || read_u16(bytes, question_end - 4) != Some(qtype.0)
        || read_u16(bytes, question_end - 2) != Some(qclass.0)
    {
        return Err(Mismatch::Question);
    }
    let flags = header::flags(bytes).unwrap_or_default();
    // Only a trusted upstream over an encrypted transport may say so; `streams`
    // sets it again.
    header::set_flags(bytes, Flags(flags.0 & !Flags::AD));
    let mut facts = Facts {
        question_end,
        end: question_end,
        rcode: Rcode(flags.rcode()),
        truncated: flags.has(Flags::TC),
        aliases: false,
        answered: false,
        rewrite: false,
        answer_ttl: None,
        soa: None,
    };
    records(bytes, name, qtype, &mut facts, scratch).ok_or(Mismatch::Malformed)?;
    Ok(facts)
}

/// Walks the records. `None` if one is cut off, a name cannot be read, a known
/// RDATA does not fit its type, or an OPT is where none may be.
fn records(
    bytes: &mut [u8],
    name: &[u8],
    qtype: Rtype,
    facts: &mut Facts,
    scratch: &mut Scratch,
) -> Option<()> {
    let mut counts = header::counts(bytes)?;
    let Scratch { names, ttls, lower, ede } = scratch;
    ttls.clear();
    lower.clear();
    ede.clear();
    names.begin(bytes);
    let follow = qtype != Rtype::CNAME && qtype != Rtype::ANY;
    let mut at = facts.question_end;
    let mut opt = None;
    let sections = [
        (Section::Answer, counts.answer),
        (Section::Authority, counts.authority),
        (Section::Additional, counts.additional),
    ];
    for (section, count) in sections {
        for _ in 0..count {
            let owner_at = at;
            let fixed = names.name(bytes, owner_at)?;
            let rdata_at = fixed + FIXED;
            let end = rdata_at + usize::from(read_u16(bytes, fixed + 8)?);
            bytes.get(rdata_at..end)?;
            let rtype = Rtype(read_u16(bytes, fixed)?);
            at = end;
            if rtype == Rtype::OPT {
                if opt.is_some() || section != Section::Additional || bytes.get(owner_at) != Some(&0) {
                    return None;
                }
                let (edns, _) = Edns::parse(bytes, fixed)?;
                facts.rcode = Rcode(u16::from(edns.rcode_high) << 4 | (facts.rcode.0 & 0xf));
                push_ede(&edns, bytes, ede);
                opt = Some(owner_at);
                continue;
            }
            rdata::walk(rtype, rdata_at..end, |at| names.name(bytes, at))?;
            // A record behind the OPT: pointers would miss if that was cut out.
            facts.rewrite |= opt.is_some();
            let sent = read_u32(bytes, fixed + 4)?;
            // RFC 2181 section 8: a TTL with the top bit set counts as 0.
            let mut ttl = if sent & 0x8000_0000 == 0 { sent } else { 0 };
            match section {
                Section::Answer => {
                    facts.answer_ttl = Some(facts.answer_ttl.map_or(ttl, |least| least.min(ttl)));
                    facts.aliases |= follow && matches!(rtype, Rtype::CNAME | Rtype::DNAME);
                    facts.answered |=
                        (rtype == qtype || qtype == Rtype::ANY) && is_owner(bytes, owner_at, name);
                }
                Section::Authority if rtype == Rtype::SOA => {
                    // MINIMUM is the last field, and clients take the smaller of
                    // both, while only the TTL ages.
                    ttl = ttl.min(read_u32(bytes, end.checked_sub(4)?)?);
                    facts.soa = facts.soa.or(Some(Soa { owner_at, ttl }));
                }
                Section::Authority | Section::Additional => {}
            }
            ttls.extend_from_slice(&u16::try_from(fixed + 4).ok()?.to_be_bytes());
            if ttl != sent {
                lower.push((fixed + 4, ttl));
            }
        }
    }
    facts.end = at;
    facts.rewrite |= !names.points_at_names();
    if facts.rewrite {
        return Some(());
    }
    if let Some(opt) = opt {
        facts.end = opt;
        counts.additional = counts.additional.checked_sub(1)?;
        header::set_counts(bytes, counts);
    }
    for (at, ttl) in lower.drain(..) {
        bytes.get_mut(at..at + 4)?.copy_from_slice(&ttl.to_be_bytes());
    }
    Some(())
}

/// Whether the name at `at`, which can be read, is `name`.
#[inline]
fn is_owner(bytes: &[u8], at: usize, name: &[u8]) -> bool {
    if bytes.get(at..at + 2) == Some(&[0xc0, HEADER_LEN as u8]) {
        return true;
    }
    read_name(bytes, at).is_some_and(|(owner, _)| owner.as_wire() == name)
}

/// Copies the extended errors of an OPT.
fn push_ede(edns: &Edns, bytes: &[u8], ede: &mut Vec<u8>) {
    for (code, data) in edns.options(bytes).filter(|(code, _)| *code == OPTION_EDE) {
        if data.len() >= 2 && ede.len() + 4 + data.len() <= MAX_EDE {
            ede.extend_from_slice(&code.to_be_bytes());
            ede.extend_from_slice(&(data.len() as u16).to_be_bytes());
            ede.extend_from_slice(data);
        }
    }
}

impl Facts {
    /// Whether it carries an SOA in its authority section.
    pub const fn has_soa(&self) -> bool {
        self.soa.is_some()
    }

    /// Seconds that it may be used; 0 for what must not be kept. `bytes` is
    /// what was read, to the question of `name`; its code is NOERROR or NXDOMAIN.
    pub fn lifetime(&self, bytes: &[u8], name: &[u8], chain: Followed<'_>, bounds: &TtlBounds) -> u32 {
        if self.rcode == Rcode::NOERROR && chain.answered {
            // RFC 2181 section 5.2: the TTLs of an RRset are one; the least is safe.
            return self.answer_ttl.map_or(0, |ttl| ttl.max(bounds.min).min(bounds.max));
        }
        // RFC 2308 section 5: without an SOA of a name in the chain a denial is not kept.
        let Some(soa) = self.soa else { return 0 };
        let Some((owner, _)) = read_name(bytes, soa.owner_at) else { return 0 };
        let covers = is_at_or_below(name, owner.as_wire())
            || chain.targets.iter().any(|target| is_at_or_below(target.as_wire(), owner.as_wire()));
        if !covers {
            return 0;
        }
        soa.ttl.min(self.answer_ttl.unwrap_or(u32::MAX)).min(bounds.max_negative)
    }

    /// The response as it is kept and sent, if it need not be rewritten, for
    /// `life` seconds from `now` on. `bytes` and `scratch` are those of [`read`].
    pub fn kept<'k>(
        &self,
        bytes: &'k [u8],
        (now, life): (u64, u32),
        traits: u8,
        scratch: &'k Scratch,
        marks: &'k Marks,
    ) -> Kept<'k> {
        let head = Head {
            question_end: self.question_end as u16,
            rcode: self.rcode,
            stored: now,
            expires: now.saturating_add(u64::from(life) * 1000),
            traits: Traits(traits),
            lead: lead(life),
        };
        let bytes = bytes.get(..self.end).unwrap_or_default();
        Kept { head, bytes, ttls: &scratch.ttls, ede: &scratch.ede, marks }
    }
}

/// Where a response leads.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'c> {
    /// The targets of its chain.
    pub targets: &'c [Name],
    /// Whether the last of them (or QNAME, without any) has what was asked.
    pub answered: bool,
}
