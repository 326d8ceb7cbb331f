//! Which of several endpoints serves a name: by what the route checks found,
//! by region and network, and at last by resource id. Never by who wrote
//! last, so that two endpoints that are equal otherwise do not take turns.

use std::net::IpAddr;

use super::claims::Claim;
use crate::routes::RouteTable;
use crate::sync::policy::{Fit, Policy};
use crate::sync::provenance::{Rank, Reason};
use crate::wire::Rtype;

/// How an endpoint stands among those of its rank that serve a name; the
/// smallest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing<'a> {
    /// The check of every address failed. What was not checked counts as good.
    pub(super) failed: bool,
    /// It is not seen now, it is what an Approved connection had.
    remembered: bool,
    /// It lies in another region than the one that the name tells.
    elsewhere: bool,
    /// The place of its region in `scope.regions`.
    region: usize,
    /// The place of its virtual network in `scope.vnets`.
    vnet: usize,
    /// Its resource id.
    resource: &'a str,
}

impl<'a> Standing<'a> {
    /// The standing of what `claim` says for records of type `rtype`.
    pub(super) fn new(claim: &'a Claim, rtype: Rtype, policy: &Policy, routes: &RouteTable) -> Self {
        Self {
            failed: has_failed(claim, rtype, routes),
            remembered: claim.remembered,
            elsewhere: claim.name.region.as_ref().is_some_and(|region| *region != claim.region),
            region: policy.region_place(&claim.region),
            vnet: claim.vnet_place,
            resource: &claim.resource,
        }
    }

    /// The order among the endpoints that fit a view. A connection that is
    /// Pending again stays in its place here: the others may be out of reach
    /// for these clients.
    pub(super) fn of_view(&self, fit: Fit, rank: Rank) -> (bool, Fit, Rank, &Self) {
        (self.failed, fit, rank, self)
    }

    /// Why it lost to `best`.
    pub(super) fn lost_to(&self, best: &Self) -> Reason {
        if self.failed != best.failed {
            Reason::RouteFailed
        } else if self.remembered != best.remembered {
            Reason::OtherEndpoint
        } else if (self.elsewhere, self.region) != (best.elsewhere, best.region) {
            Reason::OtherRegion
        } else if self.vnet != best.vnet {
            Reason::OtherNetwork
        } else {
            Reason::OtherEndpoint
        }
    }
}

/// Whether the checks of all addresses of that type failed.
fn has_failed(claim: &Claim, rtype: Rtype, routes: &RouteTable) -> bool {
    if routes.is_empty() {
        return false;
    }
    let name = claim.name.public.to_string();
    let is_of_type = |address: &&IpAddr| address.is_ipv4() == (rtype == Rtype::A);
    let has_failed =
        |address: &IpAddr| routes.get(&(name.clone(), *address)).is_some_and(|route| route.problem.is_some());
    claim.addresses.iter().filter(is_of_type).all(has_failed)
}
