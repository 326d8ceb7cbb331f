//! The facts of all listings, by kind. Of a resource that several listings
//! have, the newest listing's word counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::facts::{
    ConnectionState, EndpointFact, InterfaceFact, Listing, RegistryFact, RrsetFact, SourceKind, What,
    ZoneFact,
};
use crate::sources::records::RecordsFact;

/// Something seen, and where.
#[derive(Debug)]
pub(super) struct Seen<'a, T> {
    /// Index of the listing.
    pub(super) listing: u32,
    pub(super) kind: SourceKind,
    pub(super) origin: &'a str,
    pub(super) what: &'a T,
}

impl<T> Clone for Seen<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Seen<'_, T> {}

/// The addresses of one network interface.
#[derive(Debug, Default)]
pub(super) struct Interface<'a> {
    pub(super) addresses: Vec<Seen<'a, InterfaceFact>>,
    rank: (u64, u32),
}

/// All facts.
#[derive(Debug, Default)]
pub(super) struct Estate<'a> {
    pub(super) rrsets: Vec<Seen<'a, RrsetFact>>,
    /// Whole zone files.
    pub(super) records: Vec<Seen<'a, RecordsFact>>,
    pub(super) zones: Vec<Seen<'a, ZoneFact>>,
    /// Virtual networks by zone id, all lower case.
    pub(super) links: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// By the interface's id, lower case.
    pub(super) interfaces: BTreeMap<String, Interface<'a>>,
    /// By the endpoint's id.
    pub(super) endpoints: BTreeMap<&'a str, Seen<'a, EndpointFact>>,
    /// By the registry's id.
    pub(super) registries: BTreeMap<&'a str, Seen<'a, RegistryFact>>,
    read_at: Vec<u64>,
}

impl<'a> Estate<'a> {
    pub(super) fn new(listings: &[&'a Listing]) -> Self {
        let mut estate = Self { read_at: listings.iter().map(|l| l.read_at).collect(), ..Self::default() };
        for (index, listing) in (0u32..).zip(listings) {
            for fact in &listing.facts {
                let place = Place { listing: index, kind: listing.kind, origin: &fact.origin };
                estate.add(place, &fact.what);
            }
        }
        estate
    }

    fn add(&mut self, place: Place<'a>, what: &'a What) {
        match what {
            What::Rrset(rrset) => self.rrsets.push(place.of(rrset)),
            What::Records(records) => self.records.push(place.of(records)),
            What::Zone(zone) => self.zones.push(place.of(zone)),
            What::ZoneLink(link) => {
                self.links.entry(&link.zone_id).or_default().insert(&link.vnet_id);
            }
            What::Interface(fact) => self.add_interface(place, fact),
            What::Endpoint(fact) => {
                let seen = place.of(fact);
                let keep = self.endpoints.get(fact.endpoint_id.as_str()).is_some_and(|held| {
                    // The endpoint itself says more than the registry's list of connections.
                    let depth = |fact: &EndpointFact| !fact.interface_ids.is_empty();
                    (depth(held.what), self.newness(held.listing))
                        >= (depth(fact), self.newness(place.listing))
                });
                if !keep {
                    self.endpoints.insert(&fact.endpoint_id, seen);
                }
            }
            What::Registry(fact) => {
                let held = self.registries.get(fact.registry_id.as_str());
                if held.is_none_or(|held| self.newness(held.listing) < self.newness(place.listing)) {
                    self.registries.insert(&fact.registry_id, place.of(fact));
                }
            }
            // These tell which names should exist; they make none.
            What::Replica(_) | What::ZoneGroup(_) | What::Subnet(_) => {}
        }
    }

    fn add_interface(&mut self, place: Place<'a>, fact: &'a InterfaceFact) {
        let lower = place.origin.to_ascii_lowercase();
        let id = lower.split_once("/ipconfigurations/").map_or(lower.as_str(), |(id, _)| id).to_owned();
        let rank = self.newness(place.listing);
        let interface = self.interfaces.entry(id).or_default();
        if interface.addresses.is_empty() || interface.rank < rank {
            *interface = Interface { addresses: Vec::new(), rank };
        }
        if interface.rank == rank {
            interface.addresses.push(place.of(fact));
        }
    }

    /// Orders listings by age; among equals the first in the configuration counts.
    fn newness(&self, listing: u32) -> (u64, u32) {
        let read_at = self.read_at.get(listing as usize).copied().unwrap_or_default();
        (read_at, u32::MAX - listing)
    }

    /// The state of a connection: as the endpoint has it, else as the registry
    /// has it, else none is told.
    pub(super) fn state(&self, endpoint_id: &str) -> Option<ConnectionState> {
        if let Some(endpoint) = self.endpoints.get(endpoint_id) {
            return Some(endpoint.what.state);
        }
        let mut connections = self.registries.values().flat_map(|registry| &registry.what.connections);
        connections.find(|(id, _)| id == endpoint_id).map(|(_, state)| *state)
    }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    listing: u32,
    kind: SourceKind,
    origin: &'a str,
}

impl<'a> Place<'a> {
    fn of<T>(self, what: &'a T) -> Seen<'a, T> {
        Seen { listing: self.listing, kind: self.kind, origin: self.origin, what }
    }
}
