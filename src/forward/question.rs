//! A question on its way to an upstream, and the query that carries it.

use std::sync::Arc;

use crate::wire::{Class, Flags, HEADER_LEN, Name, Rtype};

use super::cache::{Key, bits};
use super::rules::Group;

/// What an exchange is about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its key in the response cache, which also makes equal questions meet.
    pub key: Key,
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
    /// QNAME in wire form, folded: it stands in the key.
    #[inline]
    pub fn name_wire(&self) -> &[u8] {
        self.key.as_ref().name
    }

    /// QNAME.
    pub fn name(&self) -> Name {
        self.key.name().unwrap_or_else(Name::root)
    }

    /// Writes the query for `name` (this question's, or the target of a chain)
    /// into `out`: see [`Question::append_query`].
    pub fn write_query(&self, name: &Name, id: u16, opt: Option<u16>, out: &mut Vec<u8>) {
        out.clear();
        self.append_query(name.as_wire(), id, opt, out);
    }

    /// Appends the query for `name` (wire form, folded) to `out`: RD set, DO and
    /// CD as the client had them, an OPT of our own unless `opt` is unset.
    /// Nothing else of the client's query goes out, so neither its ECS nor its
    /// cookies do.
    pub fn append_query(&self, name: &[u8], id: u16, opt: Option<u16>, out: &mut Vec<u8>) {
        let checking = if self.bits & bits::CHECKING_DISABLED == 0 { 0 } else { Flags::CD };
        let [id_high, id_low] = id.to_be_bytes();
        let [flags_high, flags_low] = (Flags::RD | checking).to_be_bytes();
        let additional = u8::from(opt.is_some());
        let header: [u8; HEADER_LEN] =
            [id_high, id_low, flags_high, flags_low, 0, 1, 0, 0, 0, 0, 0, additional];
        out.extend_from_slice(&header);
        out.extend_from_slice(name);
        let ([type_high, type_low], [class_high, class_low]) =
            (self.qtype.0.to_be_bytes(), self.qclass.0.to_be_bytes());
        out.extend_from_slice(&[type_high, type_low, class_high, class_low]);
        if let Some(udp_bytes) = opt {
            let [size_high, size_low] = udp_bytes.to_be_bytes();
            let dnssec = if self.bits & bits::DNSSEC_OK == 0 { 0 } else { 0x80 };
            out.extend_from_slice(&[0, 0, Rtype::OPT.0 as u8, size_high, size_low, 0, 0, dnssec, 0, 0, 0]);
        }
    }
}
