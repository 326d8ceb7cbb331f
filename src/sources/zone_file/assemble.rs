//! From entries to facts: the rules that a zone keeps as a whole.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use super::read::{Entries, Entry};
use super::rows::Built;
use super::scan::Scanned;
use crate::snapshot::model::{Builder, Soa, ZonePolicy};
use crate::sources::SourceError;
use crate::sources::facts::{Fact, What, ZoneFact};
use crate::sources::records::RecordsFact;
use crate::wire::{Name, Rtype};

/// Checks the zone and makes one fact of it and one of each RRset.
pub(super) fn facts(zone: &Name, policy: ZonePolicy, mut entries: Entries) -> Result<Vec<Fact>, SourceError> {
    let mut records = std::mem::take(&mut entries.records);
    // Stable: of equal records the first in the file stays.
    records.sort_by(by_content);
    records.dedup_by(|next, first| {
        let same = by_content(next, first) == Ordering::Equal;
        if same {
            first.ttl = first.ttl.min(next.ttl);
        }
        same
    });
    for entry in &records {
        if !entry.owner.is_at_or_below(zone) {
            return Err(entries.error(entry, format!("{} lies outside the zone {zone}", entry.owner)));
        }
    }
    let (soa_entry, soa) = find_soa(zone, &records, &entries)?;
    let zone_fact = ZoneFact { apex: zone.clone(), zone_id: None, soa: Some(soa), policy: Some(policy) };
    let mut builder = Builder::default();
    let (mut lines, mut of_files) = (Vec::new(), Vec::new());
    for owner in records.chunk_by(|a, b| a.owner == b.owner) {
        check_cnames(owner, &entries)?;
        for rrset in owner.chunk_by(|a, b| a.rtype == b.rtype) {
            let Some(first) = rrset.first().filter(|first| first.rtype != Rtype::SOA) else { continue };
            // Provenance names the first line, not the line of the smallest RDATA.
            let place = rrset.iter().min_by_key(|entry| (entry.file, entry.line)).unwrap_or(first);
            // RFC 2181 section 5.2: differing TTLs in an RRset count as the smallest.
            let ttl = rrset.iter().map(|entry| entry.ttl).min().unwrap_or(0);
            builder.push_plain(&first.owner, first.rtype, ttl, rrset.iter().map(|entry| &*entry.rdata));
            lines.push(u32::try_from(place.line).unwrap_or(u32::MAX));
            of_files.push(place.file);
        }
    }
    if of_files.iter().all(|file| *file == 0) {
        of_files = Vec::new();
    }
    let files = entries.files.iter().map(|path| path.display().to_string()).collect();
    let records = RecordsFact { zone: Some(zone.clone()), files, rrsets: builder.finish(), lines, of_files };
    let mut facts = vec![Fact { origin: origin(soa_entry, &entries), what: What::Zone(zone_fact) }];
    if !records.rrsets.is_empty() {
        let path = entries.files.first().map_or_else(String::new, |path| path.display().to_string());
        facts.push(Fact { origin: path, what: What::Records(Arc::new(records)) });
    }
    Ok(facts)
}

/// The same of a file that was read fast; `None` if its SOA is malformed.
pub(super) fn scanned(zone: &Name, policy: ZonePolicy, path: &Path, scanned: Scanned) -> Option<Vec<Fact>> {
    let soa = Some(parse_soa(&scanned.soa)?);
    let path = path.display().to_string();
    let fact = ZoneFact { apex: zone.clone(), zone_id: None, soa, policy: Some(policy) };
    let mut facts = vec![Fact { origin: format!("{path}:{}", scanned.soa.line), what: What::Zone(fact) }];
    let Built { rrsets, lines } = scanned.built;
    if !rrsets.is_empty() {
        let (zone, files) = (Some(zone.clone()), vec![path.clone()]);
        let records = RecordsFact { zone, files, rrsets, lines, of_files: Vec::new() };
        facts.push(Fact { origin: path, what: What::Records(Arc::new(records)) });
    }
    Some(facts)
}

fn by_content(a: &Entry, b: &Entry) -> Ordering {
    (&a.owner, a.rtype, &a.rdata).cmp(&(&b.owner, b.rtype, &b.rdata))
}

fn origin(entry: &Entry, entries: &Entries) -> String {
    format!("{}:{}", entries.file(entry).display(), entry.line)
}

/// The one SOA, which stands at the apex (RFC 1035 section 5.2).
fn find_soa<'a>(
    zone: &Name,
    records: &'a [Entry],
    entries: &Entries,
) -> Result<(&'a Entry, Soa), SourceError> {
    let mut found = records.iter().filter(|entry| entry.rtype == Rtype::SOA);
    let Some(first) = found.next() else {
        let path = entries.files.first().cloned().unwrap_or_default();
        let message = format!("there is no SOA record at {zone}");
        return Err(SourceError::ZoneFile { path, line: 1, message });
    };
    if first.owner != *zone {
        return Err(entries.error(first, format!("the SOA record stands at {}, not at {zone}", first.owner)));
    }
    if let Some(second) = found.next() {
        return Err(entries.error(second, "there is a second SOA record".to_owned()));
    }
    let soa =
        parse_soa(first).ok_or_else(|| entries.error(first, "the SOA record is malformed".to_owned()))?;
    Ok((first, soa))
}

fn parse_soa(entry: &Entry) -> Option<Soa> {
    let (mname, rest) = crate::wire::FoldedName::parse(&entry.rdata)?;
    let tail = entry.rdata.get(rest..)?;
    let (rname, rest) = crate::wire::FoldedName::parse(tail)?;
    let numbers: Vec<u32> = tail
        .get(rest..)?
        .chunks_exact(4)
        .filter_map(|chunk| chunk.try_into().ok().map(u32::from_be_bytes))
        .collect();
    let [serial, refresh, retry, expire, minimum] = *numbers.as_slice() else { return None };
    Some(Soa {
        ttl: entry.ttl,
        mname: mname.to_name(),
        rname: rname.to_name(),
        serial: Some(serial),
        refresh,
        retry,
        expire,
        minimum,
    })
}

/// A CNAME stands alone (RFC 1034 section 3.6.2), but for what DNSSEC puts
/// beside it (RFC 4034 section 3, RFC 2181 section 10.1).
fn check_cnames(owner: &[Entry], entries: &Entries) -> Result<(), SourceError> {
    let mut cnames = owner.iter().filter(|entry| entry.rtype == Rtype::CNAME);
    let Some(cname) = cnames.next() else { return Ok(()) };
    if let Some(second) = cnames.next() {
        let message = format!("{} has a second CNAME record", second.owner);
        return Err(entries.error(second, message));
    }
    let beside = |entry: &&Entry| {
        !matches!(entry.rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::KEY | Rtype::SIG)
    };
    match owner.iter().find(beside) {
        None => Ok(()),
        Some(other) => {
            let message = format!("{} has a CNAME record beside its {} record", cname.owner, other.rtype);
            Err(entries.error(cname, message))
        }
    }
}
