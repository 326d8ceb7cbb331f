//! The published set as rows for `hubdns export`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::Inspection;
use crate::admin::inventory::{AliasRow, HeldRrset, HeldZone, Inventory, SoaRow, VariantRow, ViewRow};
use crate::config::{Source, rdata_from_text};
use crate::snapshot::model::{Rrset, Soa, Zone, ZonePolicy};
use crate::wire::name::fmt_wire;
use crate::wire::{FoldedName, Name, Rtype, rdata};

impl Inspection<'_> {
    /// Everything that is served. `listen` are the addresses that clients may
    /// ask; `published_at` is in Unix seconds, 0 for never.
    pub fn inventory(&self, listen: &[SocketAddr], published_at: u64) -> Inventory {
        let files = self.config.sources.iter().filter_map(|source| match source {
            Source::ZoneFile { zone, .. } => Some(zone),
            _ => None,
        });
        let mut further: Vec<&Name> = self.config.names.zones.iter().chain(files).collect();
        further.sort_unstable();
        further.dedup();
        let views = self.set.views.iter().map(|view| ViewRow {
            name: view.name.clone(),
            clients: view.clients.iter().map(ToString::to_string).collect(),
        });
        let aliases = self
            .set
            .aliases
            .iter()
            .map(|alias| AliasRow { public: alias.public.to_string(), target: alias.target.to_string() });
        Inventory {
            generation: self.snapshot.generation(),
            published_at,
            listen: listen.iter().map(SocketAddr::to_string).collect(),
            suffixes: self.options.suffixes.iter().map(Name::to_string).collect(),
            further_zones: further.into_iter().map(Name::to_string).collect(),
            own: self.set.own.iter().map(Name::to_string).collect(),
            views: views.collect(),
            zones: self.zones().map(|zone| self.held_zone(zone)).collect(),
            aliases: aliases.collect(),
        }
    }

    fn held_zone(&self, zone: &Zone) -> HeldZone {
        HeldZone {
            apex: zone.apex.to_string(),
            falls_through: zone.policy == ZonePolicy::FallThrough,
            soa: soa_row(&zone.soa, self.snapshot.generation()),
            rrsets: zone.rrsets.iter().map(|rrset| self.held_rrset(&rrset.to_rrset())).collect(),
        }
    }

    fn held_rrset(&self, rrset: &Rrset) -> HeldRrset {
        let texts = |rdatas: &[Box<[u8]>]| -> Vec<String> {
            rdatas.iter().map(|data| master_text(rrset.rtype, data)).collect()
        };
        let variants = rrset.variants.iter().filter_map(|variant| {
            let view = self.set.views.get(usize::from(variant.view).checked_sub(1)?)?;
            Some(VariantRow { view: view.name.clone(), data: texts(&variant.rdatas) })
        });
        HeldRrset {
            name: rrset.owner.to_string(),
            rtype: rrset.rtype.to_string(),
            ttl: rrset.ttl,
            data: texts(&rrset.rdatas),
            variants: variants.collect(),
            origin: self.origin(&rrset.owner, rrset.rtype),
        }
    }
}

fn soa_row(soa: &Soa, generation: u64) -> SoaRow {
    SoaRow {
        ttl: soa.ttl,
        mname: soa.mname.to_string(),
        rname: soa.rname.to_string(),
        // Serials are 32 bits and wrap (RFC 1982).
        serial: soa.serial.unwrap_or(generation as u32),
        refresh: soa.refresh,
        retry: soa.retry,
        expire: soa.expire,
        minimum: soa.minimum,
    }
}

/// The RDATA as every server's master files have it. Names are written here, so
/// that each ends in a dot; of the other types those whose text reads back to
/// the same bytes; the rest in the form that needs no knowledge of the type
/// (RFC 3597 section 5).
fn master_text(rtype: Rtype, data: &[u8]) -> String {
    let read_back =
        |text: String| rdata_from_text(rtype, &text).is_some_and(|read| *read == *data).then_some(text);
    let text = match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME => fields(data, 0),
        Rtype::MX | Rtype::AFSDB | Rtype::KX => fields(data, 1),
        Rtype::SRV => fields(data, 3),
        Rtype::A | Rtype::AAAA | Rtype::TXT | Rtype::SPF | Rtype::CAA | Rtype::DS | Rtype::DNSKEY => {
            read_back(rdata::to_text(rtype, data))
        }
        // Written with parentheses around the digest.
        Rtype::SSHFP | Rtype::TLSA => {
            read_back(rdata::to_text(rtype, data).replace("( ", "").replace(" )", ""))
        }
        _ => None,
    };
    text.unwrap_or_else(|| generic(data))
}

/// `numbers` 16-bit numbers and a name.
fn fields(data: &[u8], numbers: usize) -> Option<String> {
    let (head, tail) = data.split_at_checked(2 * numbers)?;
    let mut text = String::new();
    for pair in head.chunks_exact(2) {
        let number = u16::from_be_bytes(pair.try_into().ok()?);
        let _ = write!(text, "{number} ");
    }
    let (_, end) = FoldedName::parse(tail)?;
    if end != tail.len() {
        return None;
    }
    fmt_wire(tail, &mut text).ok()?;
    if tail.len() > 1 {
        text.push('.');
    }
    Some(text)
}

fn generic(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    for (i, byte) in data.iter().enumerate() {
        let _ = write!(text, "{}{byte:02X}", if i == 0 { " " } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_ends_in_a_dot_and_odd_types_are_generic() {
        let target = b"\x02ns\x07Example\x00";
        let with = |head: &[u8]| [head, target].concat();
        for (rtype, data, text) in [
            (Rtype::CNAME, with(&[]), "ns.Example."),
            (Rtype::CNAME, vec![0], "."),
            (Rtype::MX, with(&[0, 10]), "10 ns.Example."),
            (Rtype::SRV, with(&[0, 1, 0, 2, 1, 0xbb]), "1 2 443 ns.Example."),
            (Rtype::A, vec![10, 0, 0, 4], "10.0.0.4"),
            (Rtype::A, vec![10, 0, 0], "\\# 3 0A0000"),
            (Rtype::SSHFP, vec![4, 2, 0xab], "4 2 AB"),
            (Rtype::TXT, b"\x05a\"b;c".to_vec(), "\"a\\\"b;c\""),
            (Rtype::HTTPS, vec![0, 1, 0], "\\# 3 000100"),
            (Rtype(65280), vec![], "\\# 0"),
        ] {
            assert_eq!(master_text(rtype, &data), text, "{rtype} {data:?}");
        }
    }
}
