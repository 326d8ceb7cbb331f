//! What upstreams may be sent, when they count as down, in which order they
//! are asked: the keys, and what is made of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::Rcode;

use super::schema::table;
use super::value::{FailureRcode, UpstreamAddress};

/// The address of Azure DNS, inside every virtual network.
pub const AZURE_DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 53);

/// What Azure DNS may be sent: it takes 1,000 queries a second and 200 at once
/// of a virtual machine, and drops the excess. The rest is left to the others
/// on the machine.
const AZURE_BUDGET: UpstreamBudget =
    UpstreamBudget { address: AZURE_DNS, rate: Some(800), in_flight: Some(150) };

/// How upstreams are asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Governor {
    /// The policies of groups, by the group's name; others are sequential.
    pub policies: Vec<(String, Policy)>,
    /// Queries in a row without an answer after which an upstream counts as down.
    pub failures: u32,
    /// Longest time between two probes of an upstream that is down.
    pub probe_interval: Duration,
    /// Response codes upon which the next upstream is asked.
    pub failure_rcodes: Vec<Rcode>,
    /// What upstreams may be sent; those that are not listed have no limit.
    pub budgets: Vec<UpstreamBudget>,
    /// Part of a budget that prefetches may take, percent.
    pub prefetch_percent: u32,
    /// Lengths of the client prefixes that share a budget: of IPv4, of IPv6.
    pub prefix_bits: (u8, u8),
    /// Prefixes that weigh more than 1 in it; the longest counts.
    pub weights: Vec<(IpNet, u32)>,
}

/// In which order the upstreams of a group are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// As they are written.
    #[default]
    Sequential,
    /// The one with the shortest round trip first.
    Fastest,
    /// Each in its turn.
    RoundRobin,
}

impl Policy {
    /// As it is written in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Fastest => "fastest",
            Self::RoundRobin => "round-robin",
        }
    }
}

/// What one upstream may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamBudget {
    /// Its address.
    pub address: SocketAddr,
    /// Queries in any second; `None` for no limit.
    pub rate: Option<u32>,
    /// Queries in flight; `None` for no limit.
    pub in_flight: Option<u32>,
}

impl Default for Governor {
    /// What an empty file says.
    fn default() -> Self {
        Self::read(&HealthTable::default(), &BudgetTable::default(), &[])
    }
}

impl Governor {
    /// The settings that the tables stand for, whatever is wrong with them.
    pub(super) fn read(health: &HealthTable, budget: &BudgetTable, policies: &[PolicyTable]) -> Self {
        let limit = |value: u32| (value > 0).then_some(value);
        let mut budgets: Vec<UpstreamBudget> = budget
            .upstreams
            .iter()
            .map(|table| UpstreamBudget {
                address: table.address.0,
                rate: limit(table.queries_per_second),
                in_flight: limit(table.max_in_flight),
            })
            .collect();
        if budgets.iter().all(|budget| budget.address != AZURE_DNS) {
            budgets.push(AZURE_BUDGET);
        }
        let weights = budget.weights.iter();
        Self {
            policies: policies.iter().map(|table| (table.upstream.clone(), table.policy)).collect(),
            failures: health.failures,
            probe_interval: Duration::from_millis(health.probe_milliseconds.into()),
            failure_rcodes: health.failure_rcodes.iter().map(|rcode| rcode.0).collect(),
            budgets,
            prefetch_percent: budget.prefetch_percent,
            prefix_bits: (budget.ipv4_prefix_bits as u8, budget.ipv6_prefix_bits as u8),
            weights: weights.flat_map(|t| t.clients.iter().map(|net| (*net, t.weight))).collect(),
        }
    }
}

table! {
    /// When an upstream counts as down.
    struct HealthTable {
        /// Queries in a row without an answer after which an upstream counts as down.
        failures: u32 = 3, in 1..=100;
        /// Longest time between two probes of an upstream that is down, in milliseconds. The first
        /// go out sooner; it is asked again as soon as two were answered.
        probe_milliseconds: u32 = 1000, in 100..=60_000;
        /// Response codes upon which the next upstream of the group is asked: `SERVFAIL`, `REFUSED`,
        /// `FORMERR`, `NOTIMP`, `NOTAUTH`; `FORMERR` and `NOTIMP` if they come without our OPT too.
        /// NXDOMAIN and NODATA are answers.
        failure_rcodes: Vec<FailureRcode> = ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"];
    }

    /// What upstreams may be sent. What exceeds it is answered at once: with an expired answer if
    /// there is one, else with SERVFAIL.
    struct BudgetTable {
        /// Part of a budget that may be spent on renewing answers before they expire, in percent.
        prefetch_percent: u32 = 10, in 0..=100;
        /// Length of the IPv4 prefixes that get equal shares when a budget runs short. The default
        /// makes each address a client of its own: a domain controller must not share with what
        /// stands beside it in the subnet.
        ipv4_prefix_bits: u32 = 32, in 8..=32;
        /// Length of the IPv6 prefixes that get equal shares. Within a /64 a host has as many
        /// addresses as it likes.
        ipv6_prefix_bits: u32 = 64, in 16..=64;
        /// Upstreams with limits.
        upstreams: Vec<UpstreamBudgetTable> = [];
        /// Prefixes with larger shares.
        weights: Vec<WeightTable> = [];
    }

    /// What one upstream may be sent. Azure DNS, 168.63.129.16, has 800 and 150 where it is not
    /// listed; it drops what exceeds 1,000 queries a second or 200 at once of one virtual machine.
    struct UpstreamBudgetTable {
        /// Address of the upstream; port 53 where none is written.
        address: UpstreamAddress = required;
        /// Queries in any second, resends and probes included; 0 for no limit.
        queries_per_second: u32 = 0, in 0..=1_000_000;
        /// Queries in flight; 0 for no limit.
        max_in_flight: u32 = 0, in 0..=1_000_000;
    }

    /// Prefixes with larger shares when a budget runs short.
    struct WeightTable {
        /// Prefixes of clients; the longest counts.
        clients: Vec<IpNet> = required;
        /// Their share, in those of others.
        weight: u32 = required, in 1..=100;
    }

    /// In which order the upstreams of a group are asked.
    struct PolicyTable {
        /// Name of the group: one of `upstreams`, `azure` or `system`.
        upstream: String = required;
        /// `sequential` asks them as they are written, `fastest` the one with the shortest round
        /// trip first, `round-robin` each in its turn. Those that are down are passed over.
        policy: Policy = "sequential";
    }
}
