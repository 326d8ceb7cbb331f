//! The record set that a snapshot is built from: what `sync` publishes and
//! saves. Plain data, already merged; nothing here knows a source.

mod aliases;
mod build;
mod chunk;
mod handle;
mod rrsets;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::wire::{Name, Rtype};
pub use aliases::Aliases;
pub use build::Builder;
pub(crate) use build::Part;
pub use handle::Run;
pub use rrsets::{Diff, Iter, Rrsets};
pub use view::{Rdatas, RrsetRef, WireName};

/// A whole set of local records. Names are folded; RDATA is uncompressed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// Local zones. Zones may nest; an owner name is looked up in all of them.
    pub zones: Vec<Zone>,
    /// Public names that stand as CNAMEs in front of private-link names.
    pub aliases: Aliases,
    /// Public login names (`contoso.azurecr.io`) of the registries that are ours.
    pub own: Arc<Vec<Name>>,
    /// Clients that get answers of their own; a [`Variant`] names one by its index plus one.
    pub views: Vec<ViewPrefixes>,
}

impl RecordSet {
    /// All RRsets, zone by zone.
    pub fn rrsets(&self) -> impl Iterator<Item = RrsetRef<'_>> {
        self.zones.iter().flat_map(|zone| &zone.rrsets)
    }

    /// The RRsets of `owner`.
    pub fn rrsets_at<'a>(&'a self, owner: &'a Name) -> impl Iterator<Item = RrsetRef<'a>> {
        self.zones.iter().flat_map(|zone| zone.rrsets.at(owner.as_wire()))
    }

    /// Whether there is an RRset of `owner` and `rtype`, or an alias where that is CNAME.
    pub fn holds(&self, owner: &[u8], rtype: Rtype) -> bool {
        self.zones.iter().any(|zone| zone.rrsets.get(owner, rtype).is_some())
            || rtype == Rtype::CNAME && self.alias(owner).is_some()
    }

    /// Shares with `before` what is the same.
    pub(crate) fn share(&mut self, before: &Self) {
        for zone in &mut self.zones {
            if let Some(like) = before.zones.iter().find(|like| like.apex == zone.apex) {
                zone.rrsets = std::mem::take(&mut zone.rrsets).sharing(&like.rrsets);
            }
        }
        self.aliases.share(&before.aliases);
        if self.own == before.own {
            self.own = Arc::clone(&before.own);
        }
    }

    /// The alias at the public name `owner`.
    pub fn alias(&self, owner: &[u8]) -> Option<&Alias> {
        self.aliases.get(owner)
    }
}

/// The clients of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewPrefixes {
    /// The view's name in the configuration.
    pub name: String,
    /// The prefixes; of all views the longest that holds the client counts.
    pub clients: Vec<IpNet>,
}

/// A locally served zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// The apex.
    pub apex: Name,
    /// The zone's SOA.
    pub soa: Soa,
    /// What names get that the zone does not hold.
    pub policy: ZonePolicy,
    /// The RRsets, except the SOA. Owners lie at or below the apex.
    pub rrsets: Rrsets,
}

/// What a name gets that lies in a zone and is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZonePolicy {
    /// NXDOMAIN with the zone's SOA.
    Authoritative,
    /// Forwarded, unless it lies below a held name.
    FallThrough,
}

/// The fields of an SOA record (RFC 1035 section 3.3.13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soa {
    /// TTL of the record in seconds. Negative answers use the smaller of this and `minimum`.
    pub ttl: u32,
    /// Name of the primary server.
    pub mname: Name,
    /// Mailbox of the person responsible.
    pub rname: Name,
    /// Serial; `None` stands for the generation of the snapshot.
    pub serial: Option<u32>,
    /// Refresh interval in seconds.
    pub refresh: u32,
    /// Retry interval in seconds.
    pub retry: u32,
    /// Expiry in seconds.
    pub expire: u32,
    /// TTL of negative answers in seconds (RFC 2308).
    pub minimum: u32,
}

impl Soa {
    /// The SOA of an Azure private zone, as Azure answers it, but for the serial.
    pub fn azure() -> Self {
        Self {
            ttl: 10,
            mname: "azureprivatedns.net".parse().expect("a constant name"),
            rname: "azureprivatedns-host.microsoft.com".parse().expect("a constant name"),
            serial: None,
            refresh: 3600,
            retry: 300,
            expire: 2_419_200,
            minimum: 10,
        }
    }

    /// The SOA of a zone served for RFC 6303 and 6761: the zone itself as
    /// primary, nobody to write to.
    pub fn locally_served(apex: &Name) -> Self {
        Self {
            ttl: 10_800,
            mname: apex.clone(),
            rname: "nobody.invalid".parse().expect("a constant name"),
            serial: Some(1),
            refresh: 3600,
            retry: 1200,
            expire: 604_800,
            minimum: 10_800,
        }
    }
}

/// Records of one owner name and type (class IN).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rrset {
    /// The owner name; its leftmost label may be `*` (RFC 4592).
    pub owner: Name,
    /// The type; never SOA.
    pub rtype: Rtype,
    /// The TTL in seconds, floor and cap applied.
    pub ttl: u32,
    /// The RDATA of each record, uncompressed wire form.
    pub rdatas: Vec<Box<[u8]>>,
    /// What clients of views get instead, ascending by view; only where it differs.
    pub variants: Vec<Variant>,
}

impl Rrset {
    /// The RDATA that clients of `view` get. A variant without records counts
    /// as none: whether a name has a type is the same for everybody.
    pub fn rdatas_in(&self, view: u8) -> &[Box<[u8]>] {
        let variant = self.variants.iter().find(|variant| variant.view == view && !variant.rdatas.is_empty());
        variant.map_or(&self.rdatas, |variant| &variant.rdatas)
    }

    /// Takes variants from a set with the views `from` into one with the views
    /// `to`, which may be others or stand in another order. What a view had
    /// that is no more is dropped.
    pub fn renumber_views(&mut self, from: &[ViewPrefixes], to: &[ViewPrefixes]) {
        if self.variants.is_empty() {
            return;
        }
        let place = |view: u8| {
            let name = &from.get(usize::from(view).checked_sub(1)?)?.name;
            let at = to.iter().position(|view| view.name == *name)?;
            u8::try_from(at + 1).ok()
        };
        self.variants.retain_mut(|variant| place(variant.view).map(|view| variant.view = view).is_some());
        self.variants.sort_by_key(|variant| variant.view);
    }
}

/// The records that one view's clients get instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Index into [`RecordSet::views`] plus one; 0 never stands here.
    pub view: u8,
    /// The RDATA of each record, uncompressed wire form; never empty.
    pub rdatas: Vec<Box<[u8]>>,
}

/// A public name answered as CNAME to its private-link name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alias {
    /// The public name (`contoso.azurecr.io`).
    pub public: Name,
    /// The private-link name (`contoso.privatelink.azurecr.io`), held by a zone.
    pub target: Name,
}

/// How a [`RecordSet`] is answered; from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerOptions {
    /// Give A and AAAA of a public name without the CNAME.
    pub flat: bool,
    /// Forward names of ours that no record covers, instead of denying them.
    pub forward_own_missing: bool,
    /// The registry suffixes in force (`azurecr.io`): names of ours lie below them.
    pub suffixes: Vec<Name>,
    /// Zones served whatever the sources say: RFC 6761, 7686, 9462, 6303.
    pub special: Vec<Zone>,
}
