//! What the configuration says about merging and answering.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{AnswerMode, Config, OwnMissing};
use crate::snapshot::model::AnswerOptions;
use crate::sources::registry_name::private_zone;
use crate::wire::Name;

use super::special;

/// The settings of the merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Registry suffixes in force.
    pub suffixes: Vec<Name>,
    /// Further private zones whose records count.
    pub zones: Vec<Name>,
    /// Login names that are ours whatever the sources show.
    pub own_registries: Vec<Name>,
    /// Smallest TTL served.
    pub ttl_floor: u32,
    /// Largest TTL served.
    pub ttl_cap: u32,
    /// TTL of names known from interfaces alone.
    pub interface_ttl: u32,
    /// Resource ids of the virtual networks in scope, lower case; empty means all.
    pub vnets: Vec<String>,
    /// Prefixes that addresses of registries must lie in.
    pub allowed_prefixes: Vec<IpNet>,
}

/// What of the configuration decides which names count at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    suffixes: Vec<Name>,
    zones: Vec<Name>,
    own_registries: Vec<Name>,
    vnets: Vec<String>,
    allowed_prefixes: Vec<IpNet>,
}

impl Scope {
    /// Suffixes and zones of `before` that do not count any more.
    pub(super) fn dropped_since(&self, before: &Self) -> Vec<Name> {
        let gone = |old: &[Name], new: &[Name]| -> Vec<Name> {
            old.iter().filter(|name| !new.contains(name)).cloned().collect()
        };
        [gone(&before.suffixes, &self.suffixes), gone(&before.zones, &self.zones)].concat()
    }
}

impl Policy {
    /// Its scope, to be compared with that of another configuration.
    pub(super) fn scope(&self) -> Scope {
        Scope {
            suffixes: self.suffixes.clone(),
            zones: self.zones.clone(),
            own_registries: self.own_registries.clone(),
            vnets: self.vnets.clone(),
            allowed_prefixes: self.allowed_prefixes.clone(),
        }
    }

    /// Takes the merge's settings from `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            suffixes: config.names.suffixes.clone(),
            zones: config.names.zones.clone(),
            own_registries: config.names.own_registries.clone(),
            ttl_floor: config.names.ttl_floor,
            ttl_cap: config.names.ttl_cap,
            interface_ttl: config.names.interface_ttl,
            vnets: config.scope.vnets.clone(),
            allowed_prefixes: config.scope.allowed_prefixes.clone(),
        }
    }

    /// `ttl` within floor and cap.
    pub(super) fn ttl(&self, ttl: u32) -> u32 {
        ttl.max(self.ttl_floor).min(self.ttl_cap)
    }

    /// Whether a registry's `address` may be served.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        Config::admits(&self.allowed_prefixes, address)
    }

    /// The place of a virtual network in the scope, smaller is better; `None`
    /// if it is not in scope. An unknown one is in scope only when all are.
    pub(super) fn vnet_place(&self, vnet: Option<&str>) -> Option<usize> {
        if self.vnets.is_empty() {
            return Some(0);
        }
        let vnet = vnet?;
        self.vnets.iter().position(|wanted| wanted.eq_ignore_ascii_case(vnet))
    }

    /// Whether `apex` is a private-link zone or lies below one.
    pub(super) fn is_private_link(&self, apex: &Name) -> bool {
        self.private_zones().any(|zone| apex.is_at_or_below(&zone))
    }

    /// Whether records of an Azure zone with this apex count.
    pub(super) fn serves_zone(&self, apex: &Name) -> bool {
        self.zones.contains(apex) || self.is_private_link(apex)
    }

    /// The private-link zone that `name` lies in.
    pub(super) fn private_zone_of(&self, name: &Name) -> Option<Name> {
        self.private_zones().find(|zone| name.is_at_or_below(zone))
    }

    fn private_zones(&self) -> impl Iterator<Item = Name> {
        self.suffixes.iter().filter_map(private_zone)
    }
}

/// How a record set is answered under `config`.
pub fn answer_options(config: &Config) -> AnswerOptions {
    AnswerOptions {
        flat: config.names.answer == AnswerMode::Flat,
        forward_own_missing: config.names.own_missing == OwnMissing::Forward,
        suffixes: config.names.suffixes.clone(),
        special: special::zones(&config.names.special),
    }
}
