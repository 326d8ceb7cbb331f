//! Sources: static records, zone files, saved az output.
//!
//! Whether a file exists is not checked: a source may come later, and one that
//! is missing is a finding of the running daemon, not a reason to stay down.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::error::Report;
use crate::config::file::{AzJsonTable, SourcesTable, StaticTable, ZoneFileTable};
use crate::config::schema::quote;
use crate::config::{Config, Names, Scope, Source, StaticRecord, rdata};
use crate::wire::{Name, Rtype};

use super::names::{Place, check_apex, holds_strangers, place, private_link};
use super::{LABEL, is_label, not_empty, resolve_path};

/// Static records first, then the other sources in the file's order.
pub(super) fn sources(
    table: &SourcesTable,
    names: &Names,
    scope: &Scope,
    base_dir: &Path,
    report: &mut Report,
) -> Vec<Source> {
    let mut sources = zone_files(&table.zone_file, names, base_dir, report);
    sources.extend(az_json(&table.az_json, base_dir, report));
    for (i, azure) in table.azure.iter().enumerate() {
        let key = format!("sources.azure[{i}]");
        if let Some(other) = table.azure.iter().take(i).position(|other| other.name == azure.name) {
            let expected = format!("a name other than that of sources.azure[{other}]");
            report.add(&format!("{key}.name"), quote(&azure.name), expected);
        }
        let source = super::azure::azure(&key, azure, base_dir, report);
        sources.push((report.line_of(&key), Source::Azure(Box::new(source))));
    }
    sources.sort_by_key(|(line, _)| *line);
    let mut sources: Vec<_> = sources.into_iter().map(|(_, source)| source).collect();

    let file_zones: Vec<_> = table.zone_file.iter().map(|file| file.zone.clone()).collect();
    let statics = Statics { names, scope, file_zones };
    let records = statics.read(&table.r#static, report);
    if !records.is_empty() {
        sources.insert(0, Source::Static(records));
    }
    sources
}

/// Sources with the lines on which they stand.
type Placed = Vec<(usize, Source)>;

fn zone_files(files: &[ZoneFileTable], names: &Names, base_dir: &Path, report: &mut Report) -> Placed {
    let mut placed = Placed::new();
    for (i, file) in files.iter().enumerate() {
        let key = format!("sources.zone_file[{i}]");
        let zone_key = format!("{key}.zone");
        check_apex(&zone_key, &file.zone, &names.special, report);
        let stranger = names.suffixes.iter().find(|suffix| holds_strangers(&file.zone, suffix));
        if let Some(suffix) = stranger
            && !file.fall_through
        {
            let expected = format!("fall_through = true, since others' registries lie below {suffix} too");
            report.add(&zone_key, &file.zone, expected);
        }
        let earlier = files.iter().take(i);
        if let Some(other) = earlier.clone().position(|other| other.zone == file.zone) {
            report.add(
                &zone_key,
                &file.zone,
                format!("a zone other than that of sources.zone_file[{other}]"),
            );
        }
        if let Some(other) = names.zones.iter().position(|zone| *zone == file.zone) {
            report.add(&zone_key, &file.zone, format!("a zone other than names.zones[{other}]"));
        }
        let path = source_path(&format!("{key}.path"), &file.path, base_dir, report);
        if let Some(other) = earlier.clone().position(|other| resolve_path(base_dir, &other.path) == path) {
            let expected = format!("a file other than that of sources.zone_file[{other}]");
            report.add(&format!("{key}.path"), shown(&file.path), expected);
        }
        let source = Source::ZoneFile { zone: file.zone.clone(), path, fall_through: file.fall_through };
        placed.push((report.line_of(&key), source));
    }
    placed
}

fn az_json(tables: &[AzJsonTable], base_dir: &Path, report: &mut Report) -> Placed {
    let mut placed = Placed::new();
    for (i, table) in tables.iter().enumerate() {
        let key = format!("sources.az_json[{i}]");
        let name_key = format!("{key}.name");
        let earlier = tables.iter().take(i);
        if !is_label(&table.name) {
            report.add(&name_key, quote(&table.name), LABEL);
        }
        if let Some(other) = earlier.clone().position(|other| other.name == table.name) {
            let expected = format!("a name other than that of sources.az_json[{other}]");
            report.add(&name_key, quote(&table.name), expected);
        }
        let name = table.name.clone();
        let has_path = !table.path.as_os_str().is_empty();
        let source = if table.embedded {
            if has_path {
                report.add(&format!("{key}.path"), shown(&table.path), "no path beside embedded = true");
            }
            if let Some(other) = earlier.clone().position(|other| other.embedded) {
                let expected = format!("the embedded estate only once, as in sources.az_json[{other}]");
                report.add(&format!("{key}.embedded"), "true", expected);
            }
            Source::Example { name }
        } else {
            let path_key = format!("{key}.path");
            let path = source_path(&path_key, &table.path, base_dir, report);
            let same = |other: &AzJsonTable| !other.embedded && resolve_path(base_dir, &other.path) == path;
            if let Some(other) = earlier.clone().position(same) {
                let expected = format!("a path other than that of sources.az_json[{other}]");
                report.add(&path_key, shown(&table.path), expected);
            }
            Source::AzJson { name, path }
        };
        placed.push((report.line_of(&key), source));
    }
    placed
}

fn source_path(key: &str, path: &Path, base_dir: &Path, report: &mut Report) -> PathBuf {
    if path.as_os_str().is_empty() {
        let found = if report.is_written(key) { "an empty path" } else { "no such key" };
        report.add(key, found, "a path in quotation marks");
    }
    resolve_path(base_dir, path)
}

fn shown(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// What static records are checked against.
struct Statics<'a> {
    names: &'a Names,
    scope: &'a Scope,
    file_zones: Vec<Name>,
}

impl Statics<'_> {
    fn read(&self, tables: &[StaticTable], report: &mut Report) -> Vec<StaticRecord> {
        let owners: Vec<_> = tables.iter().map(|table| self.owner(&table.name)).collect();
        for (i, (table, owner)) in tables.iter().zip(&owners).enumerate() {
            let key = format!("sources.static[{i}]");
            self.check_name(&key, table, report);
            check_type(&key, table, report);
            let earlier = tables.iter().zip(&owners).take(i);
            check_beside(&key, table, owner, earlier, report);
        }
        let records = tables.iter().enumerate();
        records.map(|(i, table)| self.record(table, format!("sources.static[{i}]"), report)).collect()
    }

    fn record(&self, table: &StaticTable, origin: String, report: &mut Report) -> StaticRecord {
        let values_key = format!("{origin}.values");
        not_empty(report, &values_key, &table.values);
        let in_registry = self.suffix_of(&table.name).is_some();
        let mut rdatas: Vec<Box<[u8]>> = Vec::with_capacity(table.values.len());
        for (i, text) in table.values.iter().enumerate() {
            let key = format!("{values_key}[{i}]");
            // Without a sound type nothing can be said about its data.
            if report.is_blamed(&format!("{origin}.type")) {
                continue;
            }
            let Some(wire) = rdata::from_text(table.r#type, text) else {
                report.add(&key, quote(text), rdata::expected(table.r#type));
                continue;
            };
            if rdatas.contains(&wire) {
                report.add(&key, quote(text), "each record of an RRset once (RFC 2181 section 5)");
            }
            if let Some(address) = address(&wire, table.r#type)
                && in_registry
                && !Config::admits(&self.scope.allowed_prefixes, address)
            {
                report.add(&key, quote(text), "an address within scope.allowed_prefixes");
            }
            rdatas.push(wire);
        }
        if table.r#type == Rtype::CNAME && rdatas.len() > 1 {
            report.add(&values_key, "several CNAME records", "one (RFC 2181 section 10.1)");
        }
        // Name, type, class, TTL and length of each record; the first holds the name in full.
        let size: usize = rdatas.iter().map(|rdata| rdata.len() + 12).sum();
        if size > MAX_RRSET {
            report.add(&values_key, format!("{size} bytes of records"), format!("at most {MAX_RRSET}"));
        }
        StaticRecord { name: table.name.clone(), rtype: table.r#type, ttl: table.ttl_seconds, rdatas, origin }
    }

    /// The suffix in force that `name` lies below.
    fn suffix_of(&self, name: &Name) -> Option<&Name> {
        self.names.suffixes.iter().find(|suffix| name.is_at_or_below(suffix))
    }

    /// The name that holds the record: for a registry's public name its private-link name.
    fn owner(&self, name: &Name) -> Name {
        self.suffix_of(name)
            .filter(|suffix| matches!(place(name, suffix), Some(Place::Public { .. })))
            .and_then(|suffix| private_link(suffix).with_prefix(name.strip_suffix(suffix)?).ok())
            .unwrap_or_else(|| name.clone())
    }

    fn check_name(&self, key: &str, table: &StaticTable, report: &mut Report) {
        let (name, name_key) = (&table.name, format!("{key}.name"));
        let mut zones = self.names.zones.iter().chain(&self.file_zones);
        let in_zone = zones.any(|zone| name.is_at_or_below(zone));
        let found = self.suffix_of(name).and_then(|suffix| Some((suffix, place(name, suffix)?)));
        match found {
            Some((_, Place::PrivateLink)) => {}
            Some((_, Place::Public { .. })) if matches!(table.r#type, Rtype::A | Rtype::AAAA) => {}
            _ if in_zone => {}
            Some((suffix, Place::Public { .. })) => {
                let expected = format!("A or AAAA for a public name, or a name in {}", private_link(suffix));
                report.add(&format!("{key}.type"), table.r#type, expected);
            }
            Some((suffix, Place::Other)) => {
                let expected = format!(
                    "REGISTRY.{suffix}, REGISTRY.REGION.data.{suffix}, REGISTRY.REGION.geo.{suffix}, or a name \
                     in {}",
                    private_link(suffix)
                );
                report.add(&name_key, name, expected);
            }
            None => {
                let suffixes: Vec<_> = self.names.suffixes.iter().map(ToString::to_string).collect();
                let expected = format!(
                    "a name below {}, in a zone of names.zones or in the zone of a zone file",
                    suffixes.join(", ")
                );
                report.add(&name_key, name, expected);
            }
        }
        if table.r#type == Rtype::CNAME && self.is_apex(name) {
            report.add(&name_key, name, "a name below the apex, which has an SOA (RFC 2181 section 10.1)");
        }
    }

    fn is_apex(&self, name: &Name) -> bool {
        let listed = self.names.zones.contains(name) || self.file_zones.contains(name);
        listed || self.names.suffixes.iter().any(|suffix| private_link(suffix) == *name)
    }
}

/// What fits into one message beside header, question and OPT (RFC 1035 section 4.2.2).
const MAX_RRSET: usize = 64_000;

fn check_type(key: &str, table: &StaticTable, report: &mut Report) {
    if !rdata::is_static_type(table.r#type) {
        let expected = "a type of plain data, such as A, AAAA, CNAME, MX, PTR, SRV or TXT";
        report.add(&format!("{key}.type"), table.r#type, expected);
    }
}

/// Reports a second RRset of one owner name and type, and a CNAME beside other data.
fn check_beside<'a>(
    key: &str,
    table: &StaticTable,
    owner: &Name,
    earlier: impl Iterator<Item = (&'a StaticTable, &'a Name)>,
    report: &mut Report,
) {
    for (i, (other, _)) in earlier.enumerate().filter(|(_, (_, held))| *held == owner) {
        let blamed = [format!("{key}.name"), format!("sources.static[{i}].name")];
        if blamed.iter().any(|key| report.is_blamed(key)) {
            continue;
        }
        if other.r#type == table.r#type {
            let found = format!("{} {} a second time", table.name, table.r#type);
            report.add(&format!("{key}.name"), found, format!("its values in sources.static[{i}]"));
        } else if other.r#type == Rtype::CNAME || table.r#type == Rtype::CNAME {
            let found = format!("{} beside {} in sources.static[{i}]", table.r#type, other.r#type);
            let expected = "no other data beside a CNAME (RFC 2181 section 10.1)";
            report.add(&format!("{key}.type"), found, expected);
        }
    }
}

fn address(wire: &[u8], rtype: Rtype) -> Option<IpAddr> {
    match rtype {
        Rtype::A => <[u8; 4]>::try_from(wire).ok().map(IpAddr::from),
        Rtype::AAAA => <[u8; 16]>::try_from(wire).ok().map(IpAddr::from),
        _ => None,
    }
}
