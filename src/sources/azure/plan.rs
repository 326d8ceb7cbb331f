//! What is listed: the kinds of listings, their paths and limits, and which
//! listings follow from what others say.

use std::collections::BTreeSet;

use super::arm::Family;
use super::read::listing::Items;
use super::versions;
use crate::sources::facts::What;

/// The kinds of listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// The subscriptions that the identity sees.
    Subscriptions,
    /// The subscriptions below a management group.
    ManagementGroup,
    /// Private endpoints of a subscription.
    Endpoints,
    /// Network interfaces of a subscription.
    Interfaces,
    /// Registries of a subscription.
    Registries,
    /// Private DNS zones of a subscription.
    Zones,
    /// Virtual networks of a subscription.
    Networks,
    /// Replications of a registry.
    Replications,
    /// Record sets of a zone.
    Records,
    /// Virtual network links of a zone.
    Links,
    /// Zone groups of a private endpoint.
    ZoneGroups,
}

/// Listings that share a bound on how many are read at once, so that those of
/// one class never wait for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What a subscription has, and replications.
    Resources,
    /// Record sets: each zone has a limit of its own to wait for.
    Records,
    /// What changes seldom and is much.
    Slow,
}

impl Kind {
    /// The listings that each subscription has.
    pub(super) const OF_SUBSCRIPTION: [Self; 5] =
        [Self::Endpoints, Self::Interfaces, Self::Registries, Self::Zones, Self::Networks];

    /// The last part of a scope.
    const fn word(self) -> &'static str {
        match self {
            Self::Subscriptions => "subscriptions",
            Self::ManagementGroup => "managementGroups",
            Self::Endpoints => "privateEndpoints",
            Self::Interfaces => "networkInterfaces",
            Self::Registries => "registries",
            Self::Zones => "privateDnsZones",
            Self::Networks => "virtualNetworks",
            Self::Replications => "replications",
            Self::Records => "records",
            Self::Links => "virtualNetworkLinks",
            Self::ZoneGroups => "privateDnsZoneGroups",
        }
    }

    /// The api-version.
    const fn version(self) -> &'static str {
        match self {
            Self::Subscriptions => versions::SUBSCRIPTIONS,
            Self::ManagementGroup => versions::MANAGEMENT_GROUPS,
            Self::Endpoints | Self::Interfaces | Self::Networks | Self::ZoneGroups => versions::NETWORK,
            Self::Registries | Self::Replications => versions::REGISTRY,
            Self::Zones | Self::Records | Self::Links => versions::PRIVATE_DNS,
        }
    }

    const fn provider(self) -> &'static str {
        match self {
            Self::Subscriptions | Self::ManagementGroup => "",
            Self::Registries | Self::Replications => "Microsoft.ContainerRegistry",
            _ => "Microsoft.Network",
        }
    }

    /// Whether a missing permission on it is no failure: it serves findings alone.
    pub(super) const fn is_optional(self) -> bool {
        matches!(self, Self::Networks)
    }

    /// Whether it changes so seldom that every few passes will do.
    pub(super) const fn is_slow(self) -> bool {
        matches!(self, Self::Links | Self::ZoneGroups | Self::Networks)
    }

    /// Whether it lists subscriptions.
    pub(super) const fn is_root(self) -> bool {
        matches!(self, Self::Subscriptions | Self::ManagementGroup)
    }

    /// Whether other listings follow from it.
    pub(super) const fn has_children(self) -> bool {
        matches!(self, Self::Endpoints | Self::Registries | Self::Zones)
    }

    pub(super) const fn class(self) -> Class {
        match self {
            Self::Records => Class::Records,
            kind if kind.is_slow() => Class::Slow,
            _ => Class::Resources,
        }
    }
}

/// One listing: what to ask for and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its scope.
    pub(super) scope: String,
    pub(super) kind: Kind,
    /// The path with its api-version.
    pub(super) path: String,
    pub(super) family: Family,
    /// The subscription that it lies in, lower case; empty for roots.
    pub(super) subscription: String,
    /// The resource that it belongs to: scope of the listing that has it, and its key there.
    pub(super) parent: Option<(String, String)>,
}

impl Target {
    /// The subscriptions that the identity sees.
    pub(super) fn subscriptions() -> Self {
        Self::root(Kind::Subscriptions, "subscriptions".to_owned(), "/subscriptions")
    }

    /// The subscriptions below the management group `name`.
    pub(super) fn management_group(name: &str) -> Self {
        let path = format!("/providers/Microsoft.Management/managementGroups/{}/descendants", escaped(name));
        Self::root(Kind::ManagementGroup, format!("managementGroups/{}", name.to_ascii_lowercase()), &path)
    }

    fn root(kind: Kind, scope: String, path: &str) -> Self {
        let path = format!("{path}?api-version={}", kind.version());
        Self { scope, kind, path, family: Family::Resources, subscription: String::new(), parent: None }
    }

    /// Listing `kind` of a subscription.
    pub(super) fn of_subscription(subscription: &str, kind: Kind) -> Self {
        let (provider, word) = (kind.provider(), kind.word());
        Self {
            scope: Self::scope_in(subscription, kind),
            kind,
            path: format!(
                "/subscriptions/{}/providers/{provider}/{word}?api-version={}",
                escaped(subscription),
                kind.version()
            ),
            family: match kind {
                Kind::Registries => Family::Registry,
                Kind::Zones => Family::PrivateDns,
                _ => Family::Network,
            },
            subscription: subscription.to_owned(),
            parent: None,
        }
    }

    /// The scope of listing `kind` of a subscription.
    pub(super) fn scope_in(subscription: &str, kind: Kind) -> String {
        format!("{subscription}/{}", kind.word())
    }

    /// Listing `kind` of the resource `id`, which the listing `parent` has under `key`.
    fn of_resource(subscription: &str, parent: &str, key: &str, id: &str, kind: Kind) -> Self {
        let word = if kind == Kind::Records { "ALL" } else { kind.word() };
        Self {
            scope: format!("{}/{}", short(key), kind.word()),
            kind,
            path: format!("{}/{word}?api-version={}", escaped(id), kind.version()),
            family: match kind {
                Kind::Records => Family::RecordSets(key.to_owned()),
                Kind::Links => Family::PrivateDns,
                Kind::Replications => Family::Registry,
                _ => Family::Network,
            },
            subscription: subscription.to_owned(),
            parent: Some((parent.to_owned(), key.to_owned())),
        }
    }

    /// The path of one of its resources.
    pub(super) fn path_of(&self, id: &str) -> String {
        format!("{}?api-version={}", escaped(id), self.kind.version())
    }

    /// The listings that follow from the `items` of this one. `reached` are
    /// the registries that endpoints lead to: others have nothing to serve.
    pub(super) fn children(&self, items: &Items, reached: &BTreeSet<String>) -> Vec<Self> {
        let mut children = Vec::new();
        for (key, item) in items.iter().filter(|(_, item)| !item.facts.is_empty()) {
            let kinds: &[Kind] = match self.kind {
                Kind::Zones => &[Kind::Records, Kind::Links],
                Kind::Endpoints => &[Kind::ZoneGroups],
                Kind::Registries if reached.contains(key) || is_connected(item.facts.as_slice()) => {
                    &[Kind::Replications]
                }
                _ => &[],
            };
            for kind in kinds {
                children.push(Self::of_resource(&self.subscription, &self.scope, key, &item.id, *kind));
            }
        }
        children
    }
}

fn is_connected(facts: &[crate::sources::facts::Fact]) -> bool {
    facts
        .iter()
        .any(|fact| matches!(&fact.what, What::Registry(registry) if !registry.connections.is_empty()))
}

/// What a resource id tells people: subscription, resource group, type and name.
fn short(id: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = id.split('/').skip(1);
    while let Some(part) = rest.next() {
        match part {
            "subscriptions" | "resourcegroups" => {}
            // The provider's namespace is implied by the type.
            "providers" => drop(rest.next()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// An id as part of a path: what would end the path is escaped.
fn escaped(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for character in id.chars() {
        match character {
            '%' => out.push_str("%25"),
            '?' => out.push_str("%3F"),
            '#' => out.push_str("%23"),
            '\\' => out.push_str("%5C"),
            ' ' => out.push_str("%20"),
            character => out.push(character),
        }
    }
    out
}

/// The subscription that a scope lies in, unless it is a root's.
pub(super) fn subscription_of(scope: &str) -> Option<&str> {
    let (subscription, _) = scope.split_once('/')?;
    (subscription != "managementGroups").then_some(subscription)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_tell_what_they_are() {
        let zone = "/subscriptions/1/resourcegroups/rg/providers/microsoft.network/privatednszones/a.example";
        let id = "/subscriptions/1/resourceGroups/RG/providers/Microsoft.Network/privateDnsZones/a.example";
        let target = Target::of_resource("1", "1/privateDnsZones", zone, id, Kind::Records);
        assert_eq!(target.scope, "1/rg/privatednszones/a.example/records");
        assert_eq!(target.path, format!("{id}/ALL?api-version=2024-06-01"));
        assert_eq!(target.family, Family::RecordSets(zone.to_owned()));
        assert_eq!(subscription_of(&target.scope), Some("1"));
        assert_eq!(subscription_of("subscriptions"), None);
        assert_eq!(subscription_of("managementGroups/corp"), None);
    }

    #[test]
    fn ids_stay_within_the_path() {
        let target = Target::of_subscription("1", Kind::Interfaces);
        assert_eq!(target.path_of("/a?x=1#y/../%2f"), "/a%3Fx=1%23y/../%252f?api-version=2024-05-01");
    }
}
