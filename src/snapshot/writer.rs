//! Writes records in wire form, with compression pointers that hold in the
//! response that they are for.

use std::ops::Range;

use super::model::RrsetRef;
use crate::wire::name::parent;
use crate::wire::{FoldedName, HEADER_LEN, Rtype};

/// Longest body: one that leaves room for question, SOA and OPT in a message.
const MAX_BODY: usize = 64_000;

/// Appends TYPE, CLASS and TTL.
pub(super) fn fixed_fields(out: &mut Vec<u8>, rtype: Rtype, ttl: u32) {
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&ttl.to_be_bytes());
}

/// Writes records with compression pointers that hold in the response.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    /// The question's name.
    qname: Vec<u8>,
    /// Where a body starts in the message; `None` for wildcards, whose
    /// question has another length each time.
    base: Option<usize>,
    /// Where the body at hand starts in `bytes`: it will stand at `base`.
    start: usize,
    /// Names written in the body at hand: where in `text`, and their offset in the message.
    names: Vec<(Range<usize>, u16)>,
    text: Vec<u8>,
}

impl Writer {
    pub(super) fn reset(&mut self, qname: &[u8]) {
        self.bytes.clear();
        self.qname.clear();
        self.qname.extend_from_slice(qname);
        let is_wildcard = qname.starts_with(b"\x01*");
        self.base = (!is_wildcard).then_some(HEADER_LEN + qname.len() + 4);
        self.forget(0);
    }

    /// Starts a new body at `start` of the bytes: earlier ones are not in the same message.
    pub(super) fn forget(&mut self, start: usize) {
        self.start = start;
        self.names.clear();
        self.text.clear();
    }

    /// The pointer to `name` in a response with the body at hand, if it is there.
    pub(super) fn pointer(&self, name: &[u8]) -> Option<[u8; 2]> {
        self.offset(name).map(|offset| (0xc000 | offset).to_be_bytes())
    }

    fn offset(&self, name: &[u8]) -> Option<u16> {
        if name.len() < 2 {
            return None;
        }
        if self.base.is_some() && self.qname.ends_with(name) {
            // A suffix of bytes is one of labels only at a label's start.
            let at = self.qname.len() - name.len();
            let mut up = self.qname.as_slice();
            while up.len() > name.len() {
                up = parent(up)?;
            }
            if up.len() == name.len() {
                return Some((HEADER_LEN + at) as u16);
            }
        }
        let known = |(at, _): &&(Range<usize>, u16)| self.text.get(at.clone()) == Some(name);
        self.names.iter().find(known).map(|(_, offset)| *offset)
    }

    fn name(&mut self, name: &[u8]) {
        if self.base.is_none() && name == self.qname {
            // A wildcard's records are owned by the question's name.
            self.bytes.extend_from_slice(&[0xc0, HEADER_LEN as u8]);
            return;
        }
        let mut rest = name;
        let end = self.text.len() + name.len();
        loop {
            if let Some(pointer) = self.pointer(rest) {
                self.bytes.extend_from_slice(&pointer);
                return;
            }
            let Some(above) = parent(rest) else {
                self.bytes.push(0);
                return;
            };
            if let Some(base) = self.base {
                let offset = base + self.bytes.len() - self.start;
                if offset < 0x4000 {
                    if self.text.len() < end {
                        self.text.extend_from_slice(name);
                    }
                    self.names.push((end - rest.len()..end, offset as u16));
                }
            }
            let label = rest.get(..rest.len() - above.len()).unwrap_or_default();
            self.bytes.extend_from_slice(label);
            rest = above;
        }
    }

    pub(super) fn cname(&mut self, owner: &[u8], ttl: u32, target: &[u8]) {
        self.name(owner);
        fixed_fields(&mut self.bytes, Rtype::CNAME, ttl);
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        // CNAME targets are names of their own: folded, they compress and compare.
        match FoldedName::parse(target) {
            Some((folded, end)) if end == target.len() => self.name(folded.as_wire()),
            _ => self.name(target),
        }
        self.close(len_at);
    }

    pub(super) fn record(&mut self, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) {
        self.name(owner);
        fixed_fields(&mut self.bytes, rtype, ttl);
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(rdata);
        self.close(len_at);
    }

    fn close(&mut self, len_at: usize) {
        let len = (self.bytes.len() - len_at - 2) as u16;
        if let Some(place) = self.bytes.get_mut(len_at..len_at + 2) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// Writes the records of `rrset` under `owner`, as many as one message holds.
    pub(super) fn rrset(&mut self, owner: &[u8], rrset: &RrsetRef<'_>, view: u8) -> u16 {
        let mut count = 0;
        for rdata in rrset.rdatas_in(view) {
            if self.bytes.len() - self.start + owner.len() + 10 + rdata.len() > MAX_BODY {
                break;
            }
            self.record(owner, rrset.rtype, rrset.ttl, rdata);
            count += 1;
        }
        count
    }
}
