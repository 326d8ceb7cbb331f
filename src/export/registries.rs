//! The registries with their endpoints, as clients name them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::estate::{Estate, Rrset, at_end_of_chain};
use super::text::tree_order;
use crate::admin::view::OriginRow;
use crate::sources::registry_name::RegistryName;
use crate::wire::{Name, Rtype};

/// A registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Its login name.
    pub login: Name,
    /// Whether it is ours.
    pub own: bool,
    /// Its endpoints: login, then data, then regional ones, by region.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is for.
    pub kind: Kind,
    /// The region of a data or regional endpoint.
    pub region: Option<String>,
    /// The public name.
    pub name: Name,
    /// The private-link name.
    pub private_link_name: Name,
    /// The TTL of its addresses in seconds.
    pub ttl: u32,
    /// The addresses that most clients get.
    pub addresses: Vec<IpAddr>,
    /// The addresses that clients of views get instead, by the view's name.
    pub views: BTreeMap<String, Vec<IpAddr>>,
    /// Where the addresses come from.
    pub origin: Option<OriginRow>,
}

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Login and the registry's REST API.
    Login,
    /// Layers.
    Data,
    /// The registry's API in one region.
    Geo,
}

impl Kind {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Data => "data",
            Self::Geo => "geo",
        }
    }
}

impl Endpoint {
    /// The addresses that any client gets.
    pub fn every_address(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().chain(self.views.values().flatten()).copied().collect()
    }
}

/// The registries whose public names are held, and ours, by login name.
pub fn registries(estate: &Estate) -> Vec<Registry> {
    let owners = estate.owners();
    let mut found: BTreeMap<Name, Vec<Endpoint>> = BTreeMap::new();
    for login in &estate.own {
        found.entry(login.clone()).or_default();
    }
    for (public, target) in &estate.aliases {
        let Some(name) = RegistryName::from_public(public, &estate.suffixes) else { continue };
        let rrsets = at_end_of_chain(&owners, target);
        found.entry(name.login.clone()).or_default().push(endpoint(&name, target, &rrsets));
    }
    let registries = found.into_iter().map(|(login, mut endpoints)| {
        endpoints.sort_by(|a, b| (a.kind, &a.region).cmp(&(b.kind, &b.region)));
        Registry { own: estate.own.contains(&login), login, endpoints }
    });
    let mut registries: Vec<Registry> = registries.collect();
    registries.sort_by_cached_key(|registry| tree_order(&registry.login));
    registries
}

fn endpoint(name: &RegistryName, target: &Name, rrsets: &[&Rrset]) -> Endpoint {
    let is_address = |rrset: &&&Rrset| matches!(rrset.rtype, Rtype::A | Rtype::AAAA);
    let sets: Vec<&Rrset> = rrsets.iter().filter(is_address).copied().collect();
    let mut views: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (view, _) in sets.iter().flat_map(|rrset| &rrset.variants) {
        // A view's clients get the usual records of the types in which it does not differ.
        let own = |rrset: &Rrset| {
            let variant = rrset.variants.iter().find(|(name, _)| name == view);
            addresses(variant.map_or(&rrset.data, |(_, data)| data))
        };
        views.entry(view.clone()).or_insert_with(|| sets.iter().copied().flat_map(own).collect());
    }
    let kind = match name.public.labels().nth(2) {
        _ if name.region.is_none() => Kind::Login,
        Some(b"geo") => Kind::Geo,
        _ => Kind::Data,
    };
    Endpoint {
        kind,
        region: name.region.clone(),
        name: name.public.clone(),
        private_link_name: target.clone(),
        ttl: sets.iter().map(|rrset| rrset.ttl).min().unwrap_or(0),
        addresses: sets.iter().flat_map(|rrset| addresses(&rrset.data)).collect(),
        views,
        origin: sets.iter().find_map(|rrset| rrset.origin.clone()),
    }
}

fn addresses(data: &[String]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = data.iter().filter_map(|text| text.parse().ok()).collect();
    found.sort_unstable();
    found
}
