//! What sources say: facts with their provenance, in complete listings.
//!
//! A source never says what to answer. It lists what it saw; `sync::merge`
//! decides. Listings are saved beside each published set, so that a source
//! that fails after a restart still counts with what it said last.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::records::RecordsFact;
use crate::snapshot::model::{Soa, ZonePolicy};
use crate::wire::{Name, Rtype};

/// Identifies one listing: the unit that is complete or not.
///
/// `source` is the source's name in the configuration (`static`,
/// `zone-file:corp.example`, `az-json:estate`); `scope` the part of it that
/// was listed (a file, a subscription and resource kind).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListingId {
    /// The source.
    pub source: String,
    /// The part of it.
    pub scope: String,
}

/// All facts of one complete listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Which listing this is.
    pub id: ListingId,
    /// The kind of source, which decides priority in the merge.
    pub kind: SourceKind,
    /// When it was read, Unix seconds.
    pub read_at: u64,
    /// What it says.
    pub facts: Vec<Fact>,
}

impl Listing {
    /// How many things it says.
    pub fn count(&self) -> usize {
        let count = |fact: &Fact| match &fact.what {
            What::Records(records) => records.rrsets.len(),
            _ => 1,
        };
        self.facts.iter().map(count).sum()
    }

    /// Its records, if it is a zone file's.
    pub fn records(&self) -> Option<&Arc<RecordsFact>> {
        self.facts.iter().find_map(|fact| match &fact.what {
            What::Records(records) => Some(records),
            _ => None,
        })
    }

    /// Its records, to be changed.
    pub(crate) fn records_mut(&mut self) -> Option<&mut Arc<RecordsFact>> {
        self.facts.iter_mut().find_map(|fact| match &mut fact.what {
            What::Records(records) => Some(records),
            _ => None,
        })
    }

    /// The same with a fact for each record.
    #[must_use]
    pub fn spread(&self) -> Self {
        let spread = |fact: &Fact| match &fact.what {
            What::Records(records) => records.facts().collect(),
            _ => vec![fact.clone()],
        };
        Self { facts: self.facts.iter().flat_map(spread).collect(), id: self.id.clone(), ..*self }
    }
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// Records in the configuration.
    Static,
    /// An RFC 1035 master file.
    ZoneFile,
    /// Saved output of the az command line.
    AzJson,
    /// Azure Resource Manager, live.
    Azure,
}

/// One thing seen, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The Azure resource id, or the file and line, or the configuration's key.
    pub origin: String,
    /// What was seen.
    pub what: What,
}

/// The things that sources see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An RRset of a private zone, a zone file or the configuration.
    Rrset(RrsetFact),
    /// A zone that exists, with its SOA.
    Zone(ZoneFact),
    /// A virtual network link of a private zone.
    ZoneLink(ZoneLinkFact),
    /// One address of a private endpoint's network interface.
    Interface(InterfaceFact),
    /// A private endpoint with a connection to a registry.
    Endpoint(EndpointFact),
    /// A registry.
    Registry(RegistryFact),
    /// A geo-replica of a registry.
    Replica(ReplicaFact),
    /// A zone group of a private endpoint: records that Azure keeps for it.
    ZoneGroup(ZoneGroupFact),
    /// A subnet with its prefixes.
    Subnet(SubnetFact),
    /// All RRsets of a zone file.
    Records(Arc<RecordsFact>),
}

impl What {
    /// The apex, of a zone or of a zone file's records.
    pub(crate) fn apex(&self) -> Option<&Name> {
        match self {
            Self::Zone(zone) => Some(&zone.apex),
            Self::Records(records) => Some(records.apex()),
            _ => None,
        }
    }
}

/// An RRset. Owner and zone as the source has them; no public alias is implied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrsetFact {
    /// Apex of the zone that holds it; for static records the zone it falls into.
    pub zone: Name,
    /// Resource id of that zone, lower case, if it is an Azure zone.
    pub zone_id: Option<String>,
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// The TTL in seconds as the source has it.
    pub ttl: u32,
    /// RDATA of each record, uncompressed wire form.
    pub rdatas: Vec<Box<[u8]>>,
    /// Whether Azure registered it for a virtual machine.
    pub auto_registered: bool,
    /// The record set's `metadata.creator`, if any.
    pub creator: Option<String>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneFact {
    /// The apex.
    pub apex: Name,
    /// Resource id of the zone, lower case, if it is an Azure zone.
    pub zone_id: Option<String>,
    /// The SOA, where the source tells it.
    pub soa: Option<Soa>,
    /// For zone files: what becomes of names that the zone lacks. `None` for Azure zones.
    pub policy: Option<ZonePolicy>,
}

/// A virtual network link: the zone counts in that virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneLinkFact {
    /// Resource id of the zone, lower case.
    pub zone_id: String,
    /// Resource id of the virtual network, lower case.
    pub vnet_id: String,
    /// `resolutionPolicy` (`Default`, `NxDomainRedirect`), if told.
    pub resolution_policy: Option<String>,
}

/// One ipConfiguration of a private endpoint's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceFact {
    /// `privateIPAddress`.
    pub address: IpAddr,
    /// `groupId` (`registry`), empty while the connection is pending.
    pub group_id: String,
    /// `requiredMemberName` (`registry`, `registry_data_westeurope`).
    pub member: String,
    /// `fqdns`: public names, empty while the connection is pending.
    pub fqdns: Vec<Name>,
    /// Resource id of the private endpoint, lower case, if told.
    pub endpoint_id: Option<String>,
    /// Resource id of the subnet's virtual network, lower case, if told.
    pub vnet_id: Option<String>,
    /// Resource id of the subnet, lower case, if told.
    pub subnet_id: Option<String>,
    /// `location`.
    pub region: String,
}

/// A private endpoint's connection to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFact {
    /// Resource id of the private endpoint, lower case.
    pub endpoint_id: String,
    /// Resource id of the registry (`privateLinkServiceId`), lower case.
    pub registry_id: String,
    /// The connection's state.
    pub state: ConnectionState,
    /// Resource ids of the interfaces, lower case.
    pub interface_ids: Vec<String>,
    /// `customDnsConfigs`: public names with their addresses; empty once a zone group exists.
    pub custom_dns: Vec<(Name, Vec<IpAddr>)>,
    /// Resource id of the subnet's virtual network, lower case, if told.
    pub vnet_id: Option<String>,
    /// `location`.
    pub region: String,
}

/// `privateLinkServiceConnectionState.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// Traffic flows.
    Approved,
    /// Awaits approval, or a replica is being added.
    Pending,
    /// Refused by the registry's owner.
    Rejected,
    /// Cut by the registry's owner.
    Disconnected,
    /// A state of a later API version.
    Unknown,
}

/// A registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryFact {
    /// Resource id, lower case.
    pub registry_id: String,
    /// `loginServer`.
    pub login_server: Name,
    /// `dataEndpointHostNames`.
    pub data_hosts: Vec<Name>,
    /// `regionalEndpointHostNames` (preview).
    pub regional_hosts: Vec<Name>,
    /// Private endpoints with the state of their connections; ids lower case.
    pub connections: Vec<(String, ConnectionState)>,
    /// `location`.
    pub region: String,
}

/// A geo-replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFact {
    /// Resource id of the registry, lower case.
    pub registry_id: String,
    /// Region of the replica.
    pub region: String,
    /// `provisioningState`.
    pub provisioning_state: String,
}

/// A private DNS zone group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneGroupFact {
    /// Resource id of the private endpoint, lower case.
    pub endpoint_id: String,
    /// Resource ids of the zones that it writes into, lower case.
    pub zone_ids: Vec<String>,
    /// `recordSets`: owner names with their addresses; empty while the connection is pending.
    pub records: Vec<(Name, Vec<IpAddr>)>,
}

/// A subnet of a virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetFact {
    /// Resource id, lower case.
    pub subnet_id: String,
    /// Resource id of the virtual network, lower case.
    pub vnet_id: String,
    /// Its address prefixes.
    pub prefixes: Vec<IpNet>,
}
