//! What the configuration says about merging and answering.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{AnswerMode, Config, OwnMissing, View};
use crate::snapshot::model::{AnswerOptions, ViewPrefixes};
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
    /// Regions whose endpoints are preferred, best first.
    pub regions: Vec<String>,
    /// Clients that get answers of their own, and whose endpoints they prefer.
    pub views: Vec<View>,
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

/// How well an endpoint fits a preference, smaller is better: the place of its
/// virtual network, then that of its region; `usize::MAX` for none.
pub(super) type Fit = (usize, usize);

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
            regions: config.scope.regions.clone(),
            views: config.views.clone(),
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

    /// Whether every address from `least` to `greatest`, both of one kind, may
    /// be served. False says nothing of any of them.
    pub(super) fn allows_between(&self, least: IpAddr, greatest: IpAddr) -> bool {
        // Those that stand for IPv4 addresses are judged as such.
        let is_mapped = |address: IpAddr| address.to_canonical() != address;
        let is_clear = match (least, greatest) {
            (IpAddr::V6(least), IpAddr::V6(_)) => least > Ipv4Addr::BROADCAST.to_ipv6_mapped(),
            _ => true,
        };
        let holds = |prefix: &IpNet| prefix.contains(&least) && prefix.contains(&greatest);
        (is_clear || least == greatest && !is_mapped(least)) && self.allowed_prefixes.iter().any(holds)
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

    /// The place of a region among those preferred, smaller is better.
    pub(super) fn region_place(&self, region: &str) -> usize {
        place(&self.regions, region)
    }

    /// How well an endpoint in `vnet` and `region` fits each view.
    pub(super) fn fits(&self, vnet: Option<&str>, region: &str) -> Vec<Fit> {
        let fit = |view: &View| {
            (vnet.map_or(usize::MAX, |vnet| place(&view.vnets, vnet)), place(&view.regions, region))
        };
        self.views.iter().map(fit).collect()
    }

    /// The clients of the views, as the record set has them.
    pub(super) fn view_prefixes(&self) -> Vec<ViewPrefixes> {
        let prefixes = |view: &View| ViewPrefixes { name: view.name.clone(), clients: view.clients.clone() };
        self.views.iter().map(prefixes).collect()
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

/// The place of `wanted` in `list`; `usize::MAX` if it is not there.
fn place(list: &[String], wanted: &str) -> usize {
    list.iter().position(|item| item.eq_ignore_ascii_case(wanted)).unwrap_or(usize::MAX)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn policy(prefixes: &[&str]) -> Policy {
        let config = Config::parse("", "test.toml", Path::new("/")).expect("the defaults");
        let allowed_prefixes = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        Policy { allowed_prefixes, ..Policy::new(&config) }
    }

    #[test]
    fn what_is_allowed_as_a_whole_is_allowed_one_by_one() {
        let policy = policy(&["10.0.0.0/8", "192.168.0.0/16", "fd00::/8", "::/16"]);
        let between = |least: &str, greatest: &str| {
            policy.allows_between(least.parse().unwrap(), greatest.parse().unwrap())
        };
        assert!(between("10.0.0.0", "10.255.255.255") && between("192.168.1.1", "192.168.1.1"));
        assert!(!between("9.255.255.255", "10.0.0.1") && !between("10.0.0.1", "11.0.0.0"));
        assert!(!between("10.0.0.1", "192.168.0.1"), "another lies between");
        assert!(between("fd00::1", "fdff::1") && !between("fd00::1", "fe00::"));
        // An IPv4 address in the clothes of IPv6 is judged as what it is.
        assert!(!policy.allows("::ffff:8.8.8.8".parse().unwrap()));
        assert!(!between("::1", "::1:0:0:0") && !between("::ffff:8.8.8.8", "::ffff:8.8.8.8"));
        assert!(between("::1:0:0:0", "::2:0:0:0"));
    }
}
