//! RFC 1035 master files: of the local zones, or one small zone per public name
//! for servers that cannot forward.
//!
//! Every name is written absolute, so that no `$ORIGIN` is needed. Zones unite
//! in hubdns by owner name, where another server would let the more specific
//! zone hide all below its apex: each RRset goes to the deepest zone above it.

use std::fmt::Write as _;

use super::estate::{Estate, Rrset, Soa, Zone, at_end_of_chain};
use super::text::{comment, plain_name, title, tree_order};
use super::{Document, ExportError};
use crate::sources::registry_name::private_zone;
use crate::wire::{Name, Rtype};

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// This zone alone.
    pub zone: Option<Name>,
    /// One zone per public name in place of the local zones.
    pub public: bool,
    /// Names for the NS records of zones that have none.
    pub name_servers: Vec<Name>,
}

/// The master file of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFile {
    /// The apex.
    pub apex: Name,
    /// A name for the file, made of `a-z 0-9 - _ . %` alone.
    pub file_name: String,
    /// The file.
    pub text: String,
}

/// One zone, its records in the order of the file.
struct Content<'a> {
    apex: &'a Name,
    soa: &'a Soa,
    rrsets: Vec<(&'a Name, &'a Rrset)>,
    remarks: Vec<String>,
}

/// The zones that `options` want, by apex, and what was left out.
///
/// # Errors
/// There is no such zone.
pub fn zones(estate: &Estate, options: &Options) -> Result<(Vec<ZoneFile>, Vec<String>), ExportError> {
    let mut notes = Vec::new();
    let mut contents = if options.public { public_zones(estate, &mut notes) } else { local_zones(estate) };
    contents.sort_by_cached_key(|content| tree_order(content.apex));
    if let Some(wanted) = &options.zone {
        let known: Vec<Name> = contents.iter().map(|content| content.apex.clone()).collect();
        contents.retain(|content| content.apex == wanted);
        if contents.is_empty() {
            return Err(ExportError::NoSuchZone { wanted: wanted.clone(), known });
        }
    }
    let files = contents.into_iter().map(|content| ZoneFile {
        apex: content.apex.clone(),
        file_name: file_name(content.apex),
        text: write(estate, content, &options.name_servers),
    });
    Ok((files.collect(), notes))
}

/// The one zone that a single file can hold.
///
/// # Errors
/// There is none, or more than one.
pub fn single(estate: &Estate, options: &Options) -> Result<Document, ExportError> {
    let (files, notes) = zones(estate, options)?;
    match files.as_slice() {
        [file] => Ok(Document { text: file.text.clone(), notes }),
        [] => Err(ExportError::NoZone),
        _ => Err(ExportError::SeveralZones { known: files.into_iter().map(|file| file.apex).collect() }),
    }
}

fn deepest<'a>(zones: &'a [Zone], name: &Name) -> Option<&'a Zone> {
    zones.iter().filter(|zone| name.is_at_or_below(&zone.apex)).max_by_key(|zone| zone.apex.label_count())
}

fn local_zones(estate: &Estate) -> Vec<Content<'_>> {
    let owners = estate.owners();
    let contents = estate.zones.iter().map(|zone| {
        let here =
            |owner: &Name| deepest(&estate.zones, owner).is_some_and(|deepest| deepest.apex == zone.apex);
        let held = owners.iter().filter(|(owner, _)| here(owner));
        let rrsets = held.flat_map(|(owner, rrsets)| rrsets.iter().map(move |rrset| (*owner, *rrset)));
        Content { apex: &zone.apex, soa: &zone.soa, rrsets: rrsets.collect(), remarks: remarks(estate, zone) }
    });
    contents.collect()
}

/// What an operator must know before another server loads the zone.
fn remarks(estate: &Estate, zone: &Zone) -> Vec<String> {
    let mut remarks = Vec::new();
    let is_private_link =
        estate.suffixes.iter().filter_map(private_zone).any(|private| zone.apex.is_at_or_below(&private));
    if is_private_link {
        remarks.push(format!(
            "Warning: a server that loads this file denies every other name below {}, those of everybody \
             else's registries behind Private Link too. hubdns forwards them. To serve yours alone, see \
             hubdns export zone --public-zones.",
            zone.apex
        ));
    } else if zone.falls_through {
        remarks.push(
            "Warning: a server that loads this file denies every name that it lacks. hubdns forwards them."
                .to_owned(),
        );
    }
    let below: Vec<String> = estate
        .zones
        .iter()
        .filter(|other| other.apex != zone.apex && other.apex.is_at_or_below(&zone.apex))
        .map(|other| other.apex.to_string())
        .collect();
    if !below.is_empty() {
        remarks
            .push(format!("The zones below have files of their own, load them too: {}.", below.join(", ")));
    }
    remarks
}

/// One zone per public name. Its apex cannot be a CNAME (RFC 1034 section
/// 3.6.2), so it holds the records of the private-link name themselves.
fn public_zones<'a>(estate: &'a Estate, notes: &mut Vec<String>) -> Vec<Content<'a>> {
    let owners = estate.owners();
    let mut contents = Vec::new();
    for (public, target) in &estate.aliases {
        let mut rrsets = at_end_of_chain(&owners, target);
        // What belongs to another name's place in the tree, or is signed for it.
        rrsets.retain(|rrset| {
            !matches!(
                rrset.rtype,
                Rtype::NS | Rtype::DNAME | Rtype::DS | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3
            )
        });
        let Some(zone) = deepest(&estate.zones, target).filter(|_| !rrsets.is_empty()) else {
            notes.push(format!("{public} is left out: {target} has no records of its own"));
            continue;
        };
        let remark = format!("The records of {target} under its public name.");
        let rrsets = rrsets.into_iter().map(|rrset| (public, rrset)).collect();
        contents.push(Content { apex: public, soa: &zone.soa, rrsets, remarks: vec![remark] });
    }
    contents
}

fn write(estate: &Estate, mut content: Content<'_>, name_servers: &[Name]) -> String {
    let apex = content.apex;
    let mut text = title(estate, ";", &format!("Zone {apex}"));
    content.remarks.extend(odd_hosts(&content));
    for remark in &content.remarks {
        wrap(&mut text, remark);
    }
    let Soa { ttl, mname, rname, numbers } = content.soa;
    let numbers = numbers.map(|number| number.to_string()).join(" ");
    let _ = writeln!(text, "\n{} {ttl} IN SOA {} {} {numbers}", dotted(apex), dotted(mname), dotted(rname));
    let has_ns = content.rrsets.iter().any(|(owner, rrset)| *owner == apex && rrset.rtype == Rtype::NS);
    if !has_ns {
        let default = [default_name_server(&content)];
        let names = if name_servers.is_empty() { &default[..] } else { name_servers };
        text.push_str("; hubdns answers no NS; other servers load no zone without one\n");
        for name in names {
            let _ = writeln!(text, "{} {ttl} IN NS {}", dotted(apex), dotted(name));
        }
    }
    content.rrsets.sort_by_cached_key(|(owner, rrset)| (tree_order(owner), rrset.rtype));
    for (owner, rrset) in &content.rrsets {
        write_rrset(&mut text, owner, rrset);
    }
    text
}

fn write_rrset(text: &mut String, owner: &Name, rrset: &Rrset) {
    if let Some(origin) = &rrset.origin {
        let (source, rank, id) = (comment(&origin.source), comment(&origin.rank), comment(&origin.id));
        let _ = writeln!(text, "; from {source}, {rank}: {id}");
    }
    for (view, data) in &rrset.variants {
        let _ = writeln!(text, "; clients of view {} get {}", comment(view), data.join(", "));
    }
    for data in &rrset.data {
        let _ = writeln!(text, "{} {} IN {} {data}", dotted(owner), rrset.ttl, rrset.rtype);
    }
}

/// The SOA's primary server, unless it would have to have an address in this
/// zone and has none: servers refuse such a zone.
fn default_name_server(content: &Content<'_>) -> Name {
    let mname = &content.soa.mname;
    let has_address =
        |(owner, rrset): &(&Name, &Rrset)| *owner == mname && matches!(rrset.rtype, Rtype::A | Rtype::AAAA);
    let usable =
        !mname.is_root() && (!mname.is_at_or_below(content.apex) || content.rrsets.iter().any(has_address));
    if usable { mname.clone() } else { "localhost".parse().expect("a constant name") }
}

/// BIND loads addresses at host names alone (RFC 952, RFC 1123), unless told otherwise.
fn odd_hosts(content: &Content<'_>) -> Option<String> {
    let is_odd = |name: &Name| !name.is_wildcard() && plain_name(name).is_none_or(|text| text.contains('_'));
    let hosts =
        content.rrsets.iter().filter(|(_, rrset)| matches!(rrset.rtype, Rtype::A | Rtype::AAAA | Rtype::MX));
    let (odd, _) = hosts.map(|(owner, rrset)| (*owner, *rrset)).find(|(owner, _)| is_odd(owner))?;
    Some(format!("{odd} is no host name: BIND loads this zone with \"check-names ignore\" only."))
}

/// `remark` as comment lines of at most 100 characters.
fn wrap(text: &mut String, remark: &str) {
    let mut line = String::from(";");
    for word in comment(remark).split(' ') {
        if line.len() + 1 + word.len() > 100 && line.len() > 1 {
            let _ = writeln!(text, "{line}");
            line = String::from(";");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// The absolute text form: the final dot is part of it.
fn dotted(name: &Name) -> String {
    if name.is_root() { ".".to_owned() } else { format!("{name}.") }
}

/// `contoso.azurecr.io.zone`; other bytes become `%XX`, so that no name leads
/// out of the directory (a classless reverse zone of RFC 2317 has a slash).
fn file_name(apex: &Name) -> String {
    let mut name = String::new();
    for label in apex.labels() {
        for &byte in label {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                name.push(byte as char);
            } else {
                let _ = write!(name, "%{byte:02X}");
            }
        }
        name.push('.');
    }
    if name.is_empty() { "root.zone".to_owned() } else { name + "zone" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_directory() {
        for (apex, expected) in [
            ("privatelink.azurecr.io", "privatelink.azurecr.io.zone"),
            ("0/25.2.0.192.in-addr.arpa", "0%2F25.2.0.192.in-addr.arpa.zone"),
            ("\\.\\.", "%2E%2E.zone"),
            (".", "root.zone"),
        ] {
            assert_eq!(file_name(&apex.parse().unwrap()), expected);
        }
    }
}
