//! The facts of all listings, laid out for the rules. Of what several listings
//! have, the newest one's word counts.
//!
//! Only what concerns registries is in here: private-link zones, endpoints and
//! interfaces that lead to registries. Records of the configuration are left
//! out: they change what hubdns answers, and nothing in Azure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Evidence;
use super::connections::{self, Connection};
use crate::sources::facts::{
    EndpointFact, InterfaceFact, RegistryFact, ReplicaFact, RrsetFact, SourceKind, SubnetFact, What,
    ZoneGroupFact,
};
use crate::sources::registry_name::private_zone;
use crate::wire::{Name, Rtype};

/// A fact and where it was seen.
#[derive(Debug)]
pub(super) struct Seen<'a, T> {
    pub(super) origin: &'a str,
    pub(super) what: &'a T,
    /// Larger is newer.
    age: Age,
}

impl<T> Clone for Seen<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Seen<'_, T> {}

/// Orders listings: by time, then the first in the configuration first.
pub(super) type Age = (u64, u32);

/// A private-link zone.
#[derive(Clone, Debug)]
pub(super) struct Zone<'a> {
    pub(super) apex: &'a Name,
    /// Its resource id, lower case; zone files have none.
    pub(super) id: Option<&'a str>,
    pub(super) kind: SourceKind,
    /// Its record sets are known. Every zone has an SOA, so one without any
    /// was seen in a list of zones and not read itself.
    pub(super) is_read: bool,
    /// Linked to a virtual network in scope, as far as that is known.
    pub(super) counts: bool,
}

/// A link of a zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub(super) vnet: &'a str,
    /// `resolutionPolicy` as told; `Default` where an api that has it tells none.
    pub(super) policy: Option<&'a str>,
}

/// An address or CNAME record set of a private-link zone.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    /// Index of the zone.
    pub(super) zone: usize,
    pub(super) origin: &'a str,
    pub(super) rrset: &'a RrsetFact,
    age: Age,
}

/// The addresses of one network interface.
#[derive(Debug, Default)]
pub(super) struct Interface<'a> {
    pub(super) addresses: Vec<Seen<'a, InterfaceFact>>,
    age: Age,
}

/// All facts.
#[derive(Debug, Default)]
pub(super) struct Estate<'a> {
    pub(super) zones: Vec<Zone<'a>>,
    zone_index: BTreeMap<(&'a str, &'a Name), usize>,
    /// Links by zone id, then by virtual network.
    pub(super) links: BTreeMap<&'a str, BTreeMap<&'a str, Link<'a>>>,
    /// By owner name; of zones that count or not.
    pub(super) records: BTreeMap<&'a Name, Vec<Record<'a>>>,
    pub(super) interfaces: BTreeMap<String, Interface<'a>>,
    pub(super) endpoints: BTreeMap<&'a str, Seen<'a, EndpointFact>>,
    pub(super) registries: BTreeMap<&'a str, Seen<'a, RegistryFact>>,
    /// By registry and region.
    pub(super) replicas: BTreeMap<(&'a str, &'a str), Seen<'a, ReplicaFact>>,
    /// By the group's own id.
    pub(super) groups: BTreeMap<&'a str, Seen<'a, ZoneGroupFact>>,
    pub(super) subnets: HashMap<&'a str, Seen<'a, SubnetFact>>,
    /// Endpoints with their interfaces, by endpoint.
    pub(super) connections: Vec<Connection<'a>>,
    /// Indexes of the zones with an apex.
    by_apex: BTreeMap<&'a Name, Vec<usize>>,
    private_zones: Vec<Name>,
}

impl<'a> Estate<'a> {
    pub(super) fn new(evidence: &Evidence<'a>) -> Self {
        let private_zones = evidence.suffixes.iter().filter_map(private_zone).collect();
        let mut estate = Self { private_zones, ..Self::default() };
        for (index, listing) in (0u32..).zip(evidence.listings) {
            let age = (listing.read_at, u32::MAX - index);
            // Older versions of the api have no policy: then none of its links tells one.
            let tells_policy = listing.kind == SourceKind::Azure
                || listing.facts.iter().any(
                    |fact| matches!(&fact.what, What::ZoneLink(link) if link.resolution_policy.is_some()),
                );
            for fact in &listing.facts {
                estate.add(listing.kind, &fact.origin, age, tells_policy, &fact.what);
            }
        }
        estate.count_zones(evidence);
        estate.connections = connections::collect(&estate, evidence);
        estate
    }

    fn add(&mut self, kind: SourceKind, origin: &'a str, age: Age, tells_policy: bool, what: &'a What) {
        match what {
            What::Zone(zone) => {
                if let Some(at) = self.zone(kind, &zone.apex, zone.zone_id.as_deref()) {
                    self.zones[at].is_read |= zone.soa.is_some() || kind == SourceKind::ZoneFile;
                }
            }
            // Those of private-link zones were spread into facts before.
            What::Records(_) => {}
            What::Rrset(rrset) => self.add_rrset(kind, origin, age, rrset),
            What::ZoneLink(link) => {
                let told = link.resolution_policy.as_deref();
                let policy = told.or(tells_policy.then_some("Default"));
                let links = self.links.entry(&link.zone_id).or_default();
                let fresh = Link { vnet: &link.vnet_id, policy };
                let held = links.entry(&link.vnet_id).or_insert(fresh);
                // One that tells its policy says more.
                if told.is_some() || held.policy.is_none() {
                    *held = fresh;
                }
            }
            What::Interface(fact) => {
                let lower = origin.to_ascii_lowercase();
                let id = lower.split_once("/ipconfigurations/").map_or(lower.as_str(), |(id, _)| id);
                let interface = self.interfaces.entry(id.to_owned()).or_default();
                if interface.addresses.is_empty() || interface.age < age {
                    *interface = Interface { addresses: Vec::new(), age };
                }
                if interface.age == age {
                    interface.addresses.push(Seen { origin, what: fact, age });
                }
            }
            What::Endpoint(fact) => {
                // The endpoint itself says more than the registry's list of connections.
                let depth = |fact: &EndpointFact| !fact.interface_ids.is_empty();
                let fresh = Seen { origin, what: fact, age };
                let held = self.endpoints.entry(&fact.endpoint_id).or_insert(fresh);
                if (depth(held.what), held.age) < (depth(fact), age) {
                    *held = fresh;
                }
            }
            What::Registry(fact) => newest(&mut self.registries, &fact.registry_id, origin, fact, age),
            What::Replica(fact) => {
                newest(&mut self.replicas, (&fact.registry_id, &fact.region), origin, fact, age);
            }
            What::ZoneGroup(fact) => newest(&mut self.groups, origin, origin, fact, age),
            What::Subnet(fact) => {
                let fresh = Seen { origin, what: fact, age };
                let held = self.subnets.entry(&fact.subnet_id).or_insert(fresh);
                if held.age < age {
                    *held = fresh;
                }
            }
        }
    }

    fn add_rrset(&mut self, kind: SourceKind, origin: &'a str, age: Age, rrset: &'a RrsetFact) {
        let Some(zone) = self.zone(kind, &rrset.zone, rrset.zone_id.as_deref()) else { return };
        self.zones[zone].is_read = true;
        if !matches!(rrset.rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME) || rrset.rdatas.is_empty() {
            return;
        }
        let records = self.records.entry(&rrset.owner).or_default();
        let fresh = Record { zone, origin, rrset, age };
        match records.iter_mut().find(|held| held.zone == zone && held.rrset.rtype == rrset.rtype) {
            Some(held) if held.age < age => *held = fresh,
            Some(_) => {}
            None => records.push(fresh),
        }
    }

    /// The index of a private-link zone, made if it is new.
    fn zone(&mut self, kind: SourceKind, apex: &'a Name, id: Option<&'a str>) -> Option<usize> {
        let key = (id.unwrap_or_default(), apex);
        if let Some(at) = self.zone_index.get(&key) {
            return Some(*at);
        }
        if kind == SourceKind::Static || !self.is_private_link(apex) {
            return None;
        }
        let at = self.zones.len();
        self.zones.push(Zone { apex, id, kind, is_read: false, counts: true });
        self.zone_index.insert(key, at);
        self.by_apex.entry(apex).or_default().push(at);
        Some(at)
    }

    fn is_private_link(&self, name: &Name) -> bool {
        self.private_zones.iter().any(|zone| name.is_at_or_below(zone))
    }

    /// Where links are known, zones count by them.
    fn count_zones(&mut self, evidence: &Evidence<'_>) {
        if self.links.is_empty() {
            return;
        }
        let linked = |id: &str| {
            let links = self.links.get(id);
            links.is_some_and(|links| links.keys().any(|vnet| evidence.in_scope(Some(vnet))))
        };
        for zone in &mut self.zones {
            zone.counts = zone.id.is_none_or(linked);
        }
    }

    /// The zones with exactly this apex.
    pub(super) fn zones_at(&self, apex: &Name) -> &[usize] {
        self.by_apex.get(apex).map_or(&[], Vec::as_slice)
    }

    /// The names from `owner` up to its private-link zone, itself first.
    pub(super) fn upwards(&self, owner: &Name) -> impl Iterator<Item = Name> + use<'_, 'a> {
        std::iter::successors(Some(owner.clone()), Name::parent).take_while(|name| self.is_private_link(name))
    }

    /// What the zones that count say of `owner`: its own records, else those of wildcards.
    pub(super) fn answers(&self, owner: &Name) -> Vec<&Record<'a>> {
        let counting = |name: &Name| {
            let records = self.records.get(name).into_iter().flatten();
            records.filter(|record| self.zones[record.zone].counts).collect::<Vec<_>>()
        };
        let own = counting(owner);
        if !own.is_empty() {
            return own;
        }
        let wildcards = self.upwards(owner).skip(1).filter_map(|above| above.child(b"*").ok());
        wildcards.map(|wildcard| counting(&wildcard)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Whether some zone that may hold `owner` is there and was not read.
    pub(super) fn is_unread(&self, owner: &Name) -> bool {
        let unread = |at: &usize| self.zones[*at].counts && !self.zones[*at].is_read;
        self.upwards(owner).any(|apex| self.zones_at(&apex).iter().any(unread))
    }

    /// The zone where a missing `owner` belongs: the widest that counts.
    pub(super) fn home(&self, owner: &Name) -> Option<&Zone<'a>> {
        let counts = |at: &&usize| self.zones[**at].counts;
        let found = self.upwards(owner).filter_map(|apex| self.zones_at(&apex).iter().find(counts).copied());
        found.last().map(|at| &self.zones[at])
    }

    /// Whether any zone counts.
    pub(super) fn has_zones(&self) -> bool {
        self.zones.iter().any(|zone| zone.counts)
    }
}

impl Record<'_> {
    /// Its addresses, ascending.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.rrset.rdatas.iter().filter_map(|data| address(data)).collect()
    }
}

/// The address in the RDATA of an A or AAAA record.
pub(super) fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn newest<'a, K: Ord, T>(
    held: &mut BTreeMap<K, Seen<'a, T>>,
    key: K,
    origin: &'a str,
    what: &'a T,
    age: Age,
) {
    let fresh = Seen { origin, what, age };
    match held.entry(key) {
        std::collections::btree_map::Entry::Occupied(mut entry) if entry.get().age < age => {
            entry.insert(fresh);
        }
        std::collections::btree_map::Entry::Occupied(_) => {}
        std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(fresh)),
    }
}
