//! Records written in the configuration.
//!
//! An entry for a public registry name stands for its private-link name, so
//! that one entry gives both; the merge makes the public alias of every
//! static private-link name of that shape.

use std::path::PathBuf;

use super::facts::{Fact, Listing, ListingId, RrsetFact, SourceKind, What};
use super::registry_name::{RegistryName, private_zone};
use super::{ReadRecords, Reading, SourceError, unix_now};
use crate::config::StaticRecord;
use crate::wire::Name;

/// The `static` source.
#[derive(Debug)]
pub struct StaticRecords {
    records: Vec<StaticRecord>,
    suffixes: Vec<Name>,
    apexes: Vec<Name>,
}

impl StaticRecords {
    /// Takes the entries, the registry suffixes in force, and the apexes of
    /// the other zones that entries may lie in.
    pub fn new(records: Vec<StaticRecord>, suffixes: Vec<Name>, apexes: Vec<Name>) -> Self {
        Self { records, suffixes, apexes }
    }

    fn fact(&self, record: &StaticRecord) -> Result<Fact, SourceError> {
        let owner = RegistryName::from_public(&record.name, &self.suffixes)
            .map_or_else(|| record.name.clone(), |name| name.private_link);
        let zone = self.zone_of(&owner).ok_or_else(|| SourceError::NoZone {
            origin: record.origin.clone(),
            name: record.name.to_string(),
        })?;
        let rrset = RrsetFact {
            zone,
            zone_id: None,
            owner,
            rtype: record.rtype,
            ttl: record.ttl,
            rdatas: record.rdatas.clone(),
            auto_registered: false,
            creator: None,
        };
        Ok(Fact { origin: record.origin.clone(), what: What::Rrset(rrset) })
    }

    /// The longest zone that `owner` lies in.
    fn zone_of(&self, owner: &Name) -> Option<Name> {
        let private = self.suffixes.iter().filter_map(private_zone);
        self.apexes
            .iter()
            .cloned()
            .chain(private)
            .filter(|apex| owner.is_at_or_below(apex))
            .max_by_key(Name::label_count)
    }
}

impl ReadRecords for StaticRecords {
    fn name(&self) -> &'static str {
        "static"
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Static
    }

    fn read(&self) -> Result<Reading, SourceError> {
        let facts = self.records.iter().map(|record| self.fact(record)).collect::<Result<_, _>>()?;
        let id = ListingId { source: self.name().to_owned(), scope: "configuration".to_owned() };
        Ok(Reading::whole(vec![Listing { id, kind: SourceKind::Static, read_at: unix_now(), facts }]))
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Rtype;

    fn owners(names: &[&str]) -> Result<Vec<String>, SourceError> {
        let records = names.iter().map(|name| StaticRecord {
            name: name.parse().unwrap(),
            rtype: Rtype::A,
            ttl: 60,
            rdatas: vec![Box::new([10, 0, 0, 1])],
            origin: "sources.static[0]".to_owned(),
        });
        let suffixes = vec!["azurecr.io".parse().unwrap(), "azurecr.cn".parse().unwrap()];
        let source = StaticRecords::new(records.collect(), suffixes, vec!["corp.example".parse().unwrap()]);
        let facts = source.read()?.listings.remove(0).facts;
        Ok(facts
            .into_iter()
            .map(|fact| match fact.what {
                What::Rrset(rrset) => format!("{} in {}", rrset.owner, rrset.zone),
                other => panic!("{other:?}"),
            })
            .collect())
    }

    #[test]
    fn a_public_name_stands_for_its_private_link_name() {
        let names =
            ["a.azurecr.io", "a.eastus.data.azurecr.cn", "b.privatelink.azurecr.io", "x.corp.example"];
        let expected = [
            "a.privatelink.azurecr.io in privatelink.azurecr.io",
            "a.eastus.data.privatelink.azurecr.cn in privatelink.azurecr.cn",
            "b.privatelink.azurecr.io in privatelink.azurecr.io",
            "x.corp.example in corp.example",
        ];
        assert_eq!(owners(&names).unwrap(), expected);
    }

    #[test]
    fn a_name_in_no_zone_is_an_error() {
        assert_eq!(owners(&["www.example.org"]).unwrap_err().label(), "no_zone");
    }
}
