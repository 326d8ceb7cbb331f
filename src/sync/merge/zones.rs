//! Which zones count, with which SOA, and what becomes of names they lack.

use std::collections::{BTreeMap, BTreeSet};

use super::estate::{Estate, Seen};
use crate::findings::{Code, Finding};
use crate::snapshot::model::{Rrsets, Soa, Zone, ZonePolicy};
use crate::sources::facts::{SourceKind, ZoneFact};
use crate::sync::policy::Policy;
use crate::wire::Name;

/// The zones that count.
#[derive(Debug, Default)]
pub(super) struct Zones {
    by_apex: BTreeMap<Name, Facts>,
    links: Links,
}

/// What is known of the links between zones and virtual networks.
#[derive(Debug, Default)]
enum Links {
    /// Nothing: every zone counts.
    #[default]
    Unknown,
    /// Every network is in scope: these zones are linked to one. Others do not
    /// count where links are always read, since whoever may make a zone
    /// somewhere could take over names with it.
    Any(BTreeSet<String>),
    /// Zones that are linked to networks in scope count, with their place in it.
    InScope(BTreeMap<String, usize>),
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
        let mut zones = Self { by_apex: BTreeMap::new(), links: Links::new(estate, policy) };
        for seen in &estate.zones {
            let zone = seen.what;
            if seen.kind != SourceKind::ZoneFile && !policy.serves_zone(&zone.apex) {
                continue;
            }
            let Some(order) = zones.order(seen.kind, zone.zone_id.as_deref()) else {
                if let Some(id) = &zone.zone_id {
                    findings.push(Finding::new(Code::ZoneNotLinked, &zone.apex, id, zones.links.advice()));
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
        let place = match &self.links {
            Links::InScope(linked) if !id.is_empty() => *linked.get(id)?,
            Links::Any(linked) if !id.is_empty() && kind == SourceKind::Azure && !linked.contains(id) => {
                return None;
            }
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
        Zone { apex: apex.clone(), soa, policy, rrsets: Rrsets::default() }
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

impl Links {
    fn new(estate: &Estate<'_>, policy: &Policy) -> Self {
        if estate.links.is_empty() {
            return Self::Unknown;
        }
        if policy.vnets.is_empty() {
            return Self::Any(estate.links.keys().map(|zone| (*zone).to_owned()).collect());
        }
        let place = |(zone, vnets): (&&str, &BTreeSet<&str>)| {
            let place = vnets.iter().filter_map(|vnet| policy.vnet_place(Some(vnet))).min()?;
            Some(((*zone).to_owned(), place))
        };
        Self::InScope(estate.links.iter().filter_map(place).collect())
    }

    /// What to do about a zone that does not count.
    const fn advice(&self) -> &'static str {
        match self {
            Self::InScope(_) => {
                "The zone is linked to no virtual network in scope; its records do not count. \
                 Link it, or add a linked network to scope.vnets."
            }
            Self::Any(_) | Self::Unknown => {
                "The zone is linked to no virtual network; its records do not count. Link it to the \
                 networks whose clients need it, or delete it."
            }
        }
    }
}
