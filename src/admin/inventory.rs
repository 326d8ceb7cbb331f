//! Everything that is served, of one generation: what `hubdns export` turns
//! into the forms of other software. Plain data; texts are raw, and whoever
//! writes them escapes them for the place where they go.

use serde::{Deserialize, Serialize};

use super::view::OriginRow;

/// All that is served, and for which names. Never a mixture of two generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The number of the published snapshot; 0 where nothing was published.
    pub generation: u64,
    /// When it was published, Unix seconds; 0 where nothing was published.
    pub published_at: u64,
    /// Addresses that answer DNS, `0.0.0.0` and `[::]` replaced by the host's
    /// own addresses where those are known.
    pub listen: Vec<String>,
    /// The registry suffixes in force (`azurecr.io`).
    pub suffixes: Vec<String>,
    /// Further zones of the configuration: `names.zones` and those of zone files.
    pub further_zones: Vec<String>,
    /// Login names of the registries that are ours.
    pub own: Vec<String>,
    /// Clients that get answers of their own.
    pub views: Vec<ViewRow>,
    /// The local zones.
    pub zones: Vec<HeldZone>,
    /// Public names in front of private-link names.
    pub aliases: Vec<AliasRow>,
}

/// Clients that get answers of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRow {
    /// The view's name in the configuration.
    pub name: String,
    /// Their prefixes; of all views the longest that holds the client counts.
    pub clients: Vec<String>,
}

/// A local zone with its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldZone {
    /// The apex.
    pub apex: String,
    /// Whether names that it lacks are forwarded, not denied.
    pub falls_through: bool,
    /// Its SOA, as it is answered.
    pub soa: SoaRow,
    /// The RRsets, except the SOA.
    pub rrsets: Vec<HeldRrset>,
}

/// The fields of an SOA record (RFC 1035 section 3.3.13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoaRow {
    /// TTL of the record in seconds.
    pub ttl: u32,
    /// Name of the primary server.
    pub mname: String,
    /// Mailbox of the person responsible.
    pub rname: String,
    /// The serial; the generation where the zone has none of its own.
    pub serial: u32,
    /// Refresh interval in seconds.
    pub refresh: u32,
    /// Retry interval in seconds.
    pub retry: u32,
    /// Expiry in seconds.
    pub expire: u32,
    /// TTL of negative answers in seconds.
    pub minimum: u32,
}

/// An RRset that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRrset {
    /// The owner name.
    pub name: String,
    /// The type.
    pub rtype: String,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The RDATA of each record as a master file has it: names absolute, RFC
    /// 3597 form where servers do not agree on another.
    pub data: Vec<String>,
    /// What clients of views get instead, where it differs.
    pub variants: Vec<VariantRow>,
    /// Where it comes from.
    pub origin: Option<OriginRow>,
}

/// The records that one view's clients get instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantRow {
    /// The view's name.
    pub view: String,
    /// The RDATA of each record, as in [`HeldRrset::data`].
    pub data: Vec<String>,
}

/// A public name in front of a private-link name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// The public name.
    pub public: String,
    /// The private-link name.
    pub target: String,
}
