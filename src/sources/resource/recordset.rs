//! Private zones, their virtual network links and their record sets.

use std::net::IpAddr;

use serde_json::Value;

use super::fields::{Fields, Odd, ResourceId, name};
use crate::snapshot::model::Soa;
use crate::sources::facts::{Fact, RrsetFact, What, ZoneFact, ZoneLinkFact};
use crate::wire::{Name, Rtype};

/// Longest character-string (RFC 1035 section 3.3).
const MAX_STRING: usize = 255;
/// Largest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;

/// A private zone.
pub(in crate::sources) fn zone(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let text = match id.and_then(|id| id.names.first()) {
        Some(text) => text.as_str(),
        None => fields.text_or_empty("name")?,
    };
    let fact = ZoneFact {
        apex: name("name", text)?,
        zone_id: id.map(|id| id.lower.clone()),
        soa: None,
        policy: None,
    };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::Zone(fact) }])
}

/// A virtual network link.
pub(in crate::sources) fn link(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let zone_id = id.and_then(|id| id.ancestor(1)).ok_or_else(|| Odd::new("id", "is missing"))?;
    let Some(vnet_id) = fields.reference("virtualnetwork")? else { return Ok(Vec::new()) };
    let resolution_policy = fields.text("resolutionpolicy")?.map(str::to_owned);
    let fact = ZoneLinkFact { zone_id, vnet_id, resolution_policy };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::ZoneLink(fact) }])
}

/// A record set of the type that ends its resource type. Sets without records
/// and types that private zones do not have yield nothing.
pub(in crate::sources) fn record_set(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    rtype: &str,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let id = id.ok_or_else(|| Odd::new("id", "is missing"))?;
    let zone_text = id.names.first().ok_or_else(|| Odd::new("id", "names no zone"))?;
    let zone = name("id", zone_text)?;
    let zone_id = id.ancestor(1);
    let ttl = fields.number::<u64>("ttl")?.unwrap_or(3600).min(u64::from(MAX_TTL)) as u32;
    let rtype = match rtype {
        "a" => Rtype::A,
        "aaaa" => Rtype::AAAA,
        "cname" => Rtype::CNAME,
        "mx" => Rtype::MX,
        "ptr" => Rtype::PTR,
        "srv" => Rtype::SRV,
        "txt" => Rtype::TXT,
        "soa" => {
            let soa = fields.object("soarecord")?.map(|record| soa(&record, ttl)).transpose()?;
            let fact = ZoneFact { apex: zone, zone_id, soa, policy: None };
            return Ok(vec![Fact { origin: origin.to_owned(), what: What::Zone(fact) }]);
        }
        _ => return Ok(Vec::new()),
    };
    let mut rdatas = rdatas(fields, rtype)?;
    rdatas.sort_unstable();
    rdatas.dedup();
    if rdatas.is_empty() {
        return Ok(Vec::new());
    }
    let creator = fields.object("metadata")?.and_then(|metadata| metadata.text("creator").ok().flatten());
    let fact = RrsetFact {
        owner: owner(fields, id, &zone)?,
        zone,
        zone_id,
        rtype,
        ttl,
        rdatas,
        auto_registered: fields.get("isautoregistered").and_then(Value::as_bool).unwrap_or(false),
        creator: creator.map(str::to_owned),
    };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::Rrset(fact) }])
}

/// The owner name: `fqdn` where it is told, else `name` below the zone. `@`
/// is the apex, and a final dot makes a name absolute.
fn owner(fields: &Fields<'_>, id: &ResourceId, zone: &Name) -> Result<Name, Odd> {
    if let Some(owner) = fields.name("fqdn")?.filter(|owner| owner.is_at_or_below(zone)) {
        return Ok(owner);
    }
    let relative = match fields.text("name")? {
        Some(text) if !text.is_empty() => text,
        _ => id.names.last().map_or("@", String::as_str),
    };
    if relative == "@" {
        return Ok(zone.clone());
    }
    let owner = if relative.ends_with('.') {
        name("name", relative)?
    } else {
        name("name", &format!("{relative}.{zone}"))?
    };
    if owner.is_at_or_below(zone) {
        return Ok(owner);
    }
    Err(Odd::new("name", format!("is {owner}, which lies outside the zone {zone}")))
}

fn rdatas(fields: &Fields<'_>, rtype: Rtype) -> Result<Vec<Box<[u8]>>, Odd> {
    let mut out: Vec<Box<[u8]>> = Vec::new();
    match rtype {
        Rtype::A => {
            for record in fields.objects("arecords")? {
                match record.address("ipv4address")? {
                    Some(IpAddr::V4(address)) => out.push(Box::new(address.octets())),
                    Some(_) => return Err(Odd::new("ipv4Address", "is an IPv6 address")),
                    None => {}
                }
            }
        }
        Rtype::AAAA => {
            for record in fields.objects("aaaarecords")? {
                match record.address("ipv6address")? {
                    Some(IpAddr::V6(address)) => out.push(Box::new(address.octets())),
                    Some(_) => return Err(Odd::new("ipv6Address", "is an IPv4 address")),
                    None => {}
                }
            }
        }
        Rtype::CNAME => {
            let record = fields.object("cnamerecord")?;
            if let Some(target) = record.map(|record| target(&record, "cname")).transpose()?.flatten() {
                out.push(target.as_wire().into());
            }
        }
        Rtype::PTR => {
            for record in fields.objects("ptrrecords")? {
                if let Some(target) = target(&record, "ptrdname")? {
                    out.push(target.as_wire().into());
                }
            }
        }
        Rtype::MX => {
            for record in fields.objects("mxrecords")? {
                if let Some(exchange) = target(&record, "exchange")? {
                    let preference: u16 = record.number("preference")?.unwrap_or(0);
                    out.push([&preference.to_be_bytes()[..], exchange.as_wire()].concat().into());
                }
            }
        }
        Rtype::SRV => {
            for record in fields.objects("srvrecords")? {
                if let Some(target) = target(&record, "target")? {
                    let mut data = Vec::with_capacity(6 + target.as_wire().len());
                    for key in ["priority", "weight", "port"] {
                        data.extend_from_slice(&record.number::<u16>(key)?.unwrap_or(0).to_be_bytes());
                    }
                    data.extend_from_slice(target.as_wire());
                    out.push(data.into());
                }
            }
        }
        _ => {
            for record in fields.objects("txtrecords")? {
                let strings = record.list("value")?;
                if !strings.is_empty() {
                    out.push(txt(strings)?);
                }
            }
        }
    }
    Ok(out)
}

/// A name in RDATA. Azure writes them with and without a final dot and means
/// an absolute name by both; an empty one means that there is no record.
fn target(record: &Fields<'_>, key: &str) -> Result<Option<Name>, Odd> {
    match record.text(key)? {
        Some(".") => Ok(Some(Name::root())),
        _ => record.name(key),
    }
}

/// The character-strings of a TXT record; text beyond 255 bytes goes on in
/// the next one.
fn txt(strings: &[Value]) -> Result<Box<[u8]>, Odd> {
    let mut data = Vec::new();
    for string in strings {
        let text = string.as_str().ok_or_else(|| Odd::new("value", "holds something else than strings"))?;
        if text.is_empty() {
            data.push(0);
        }
        for chunk in text.as_bytes().chunks(MAX_STRING) {
            data.push(chunk.len() as u8);
            data.extend_from_slice(chunk);
        }
    }
    if data.len() > usize::from(u16::MAX) {
        return Err(Odd::new("value", "is longer than 65,535 bytes"));
    }
    Ok(data.into())
}

/// The SOA, but for the serial: Azure's stays 1 for ever, ours is the
/// generation. Fields that are missing are as Azure has them.
fn soa(record: &Fields<'_>, ttl: u32) -> Result<Soa, Odd> {
    let azure = Soa::azure();
    Ok(Soa {
        ttl,
        mname: record.name("host")?.unwrap_or(azure.mname),
        rname: record.name("email")?.unwrap_or(azure.rname),
        serial: None,
        refresh: record.number("refreshtime")?.unwrap_or(azure.refresh),
        retry: record.number("retrytime")?.unwrap_or(azure.retry),
        expire: record.number("expiretime")?.unwrap_or(azure.expire),
        minimum: record.number("minimumttl")?.unwrap_or(azure.minimum),
    })
}
