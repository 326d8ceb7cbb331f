//! A question on its way to an upstream, and the query that carries it.

use std::sync::Arc;

use crate::wire::header::{self, Counts, HEADER_LEN};
use crate::wire::{Class, Flags, Name, Rtype};

use super::cache::{Key, bits};
use super::rules::Group;

/// What an exchange is about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its key in the response cache, which also makes equal questions meet.
    pub key: Key,
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub qtype: Rtype,
    /// QCLASS.
    pub qclass: Class,
    /// See [`bits`].
    pub bits: u8,
    /// Whom to ask.
    pub group: Arc<Group>,
    /// Whom to ask when a private-link zone denies the name; `None` for names
    /// that are ours.
    pub fallback: Option<Arc<Group>>,
}

impl Question {
    /// Writes the query for `name` (this question's, or the target of a chain)
    /// into `out`: RD set, DO and CD as the client had them, an OPT of our own
    /// unless `opt` is unset. Nothing else of the client's query goes out, so
    /// neither its ECS nor its cookies do.
    pub fn write_query(&self, name: &Name, id: u16, opt: Option<u16>, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEADER_LEN, 0);
        let checking = if self.bits & bits::CHECKING_DISABLED == 0 { 0 } else { Flags::CD };
        header::set_id(out, id);
        header::set_flags(out, Flags(Flags::RD | checking));
        let additional = u16::from(opt.is_some());
        header::set_counts(out, Counts { question: 1, additional, ..Counts::default() });
        out.extend_from_slice(name.as_wire());
        out.extend_from_slice(&self.qtype.0.to_be_bytes());
        out.extend_from_slice(&self.qclass.0.to_be_bytes());
        if let Some(udp_bytes) = opt {
            let [size_high, size_low] = udp_bytes.to_be_bytes();
            let dnssec = if self.bits & bits::DNSSEC_OK == 0 { 0 } else { 0x80 };
            out.extend_from_slice(&[0, 0, Rtype::OPT.0 as u8, size_high, size_low, 0, 0, dnssec, 0, 0, 0]);
        }
    }
}
