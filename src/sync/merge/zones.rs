//! Which zones count, with which SOA, and what becomes of names they lack.

use std::collections::BTreeMap;

use super::estate::{Estate, Seen};
use crate::findings::{Code, Finding};
use crate::snapshot::model::{Soa, Zone, ZonePolicy};
use crate::sources::facts::{SourceKind, ZoneFact};
use crate::sync::policy::Policy;
use crate::wire::Name;

/// The zones that count.
#[derive(Debug, Default)]
pub(super) struct Zones {
    by_apex: BTreeMap<Name, Facts>,
    /// Places in the scope of the linked zones, by zone id; `None` while every zone counts.
    linked: Option<BTreeMap<String, usize>>,
}

#[derive(Debug, Default)]
struct Facts {
    soa: Option<(Order, Soa)>,
    policy: Option<ZonePolicy>,
}

/// Which of several zones with one apex is asked first.
pub(super) type Order = (SourceKind, usize, String);

impl Zones {
    pub(super) fn collect(estate: &Estate<'_>, policy: &Policy, findings: &mut Vec<Finding>) -> Self {
        let mut zones = Self { by_apex: BTreeMap::new(), linked: linked(estate, policy) };
        for seen in &estate.zones {
            let zone = seen.what;
            if seen.kind != SourceKind::ZoneFile && !policy.serves_zone(&zone.apex) {
                continue;
            }
            let Some(order) = zones.order(seen.kind, zone.zone_id.as_deref()) else {
                if let Some(id) = &zone.zone_id {
                    let text = "The zone is linked to no virtual network in scope; its records do not count. \
                                Link it, or add a linked network to scope.vnets.";
                    findings.push(Finding::new(Code::ZoneNotLinked, &zone.apex, id, text));
                }
                continue;
            };
            zones.by_apex.entry(zone.apex.clone()).or_default().add(seen, order);
        }
        zones
    }

    /// The place of a zone among others with its apex; `None` if it does not count.
    pub(super) fn order(&self, kind: SourceKind, zone_id: Option<&str>) -> Option<Order> {
        let id = zone_id.unwrap_or_default();
        let place = match &self.linked {
            Some(linked) if !id.is_empty() => *linked.get(id)?,
            _ => 0,
        };
        Some((kind, place, id.to_owned()))
    }

    pub(super) fn apexes(&self) -> impl Iterator<Item = &Name> {
        self.by_apex.keys()
    }

    /// The zone at `apex`, still without records.
    pub(super) fn zone(&self, apex: &Name) -> Zone {
        let facts = self.by_apex.get(apex);
        let soa = facts.and_then(|facts| facts.soa.as_ref()).map_or_else(Soa::azure, |(_, soa)| soa.clone());
        // Others' names live in private-link zones too: what we lack is asked elsewhere.
        let policy = facts.and_then(|facts| facts.policy).unwrap_or(ZonePolicy::FallThrough);
        Zone { apex: apex.clone(), soa, policy, rrsets: Vec::new() }
    }
}

impl Facts {
    fn add(&mut self, seen: &Seen<'_, ZoneFact>, order: Order) {
        self.policy = seen.what.policy.or(self.policy);
        let Some(soa) = &seen.what.soa else { return };
        if self.soa.as_ref().is_none_or(|(held, _)| order < *held) {
            self.soa = Some((order, soa.clone()));
        }
    }
}

/// With networks in scope and links known, zones count by their links.
fn linked(estate: &Estate<'_>, policy: &Policy) -> Option<BTreeMap<String, usize>> {
    if policy.vnets.is_empty() || estate.links.is_empty() {
        return None;
    }
    let place = |(zone, vnets): (&&str, &std::collections::BTreeSet<&str>)| {
        let place = vnets.iter().filter_map(|vnet| policy.vnet_place(Some(vnet))).min()?;
        Some(((*zone).to_owned(), place))
    };
    Some(estate.links.iter().filter_map(place).collect())
}
