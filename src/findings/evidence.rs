//! What the rules look at, and the rules in turn.

use std::collections::BTreeSet;

use super::estate::Estate;
use super::{Finding, endpoints, names, records, ways, zones};
use crate::routes::{RouteTable, UpstreamState};
use crate::snapshot::model::RecordSet;
use crate::sources::facts::{Listing, What};
use crate::sources::registry_name::private_zone;
use crate::wire::Name;

/// Everything that findings are made of. Nothing in it is looked up or asked.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The last complete listings, those of better sources first.
    pub listings: &'a [&'a Listing],
    /// The published set.
    pub set: &'a RecordSet,
    /// Registry suffixes in force.
    pub suffixes: &'a [Name],
    /// Login names that the configuration calls ours.
    pub own_registries: &'a [Name],
    /// Resource ids of the virtual networks in scope; empty means all.
    pub vnets: &'a [String],
    /// What the checks of the way to the registries found.
    pub routes: &'a RouteTable,
    /// What the upstreams can do.
    pub upstreams: &'a [UpstreamState],
    /// Something was never read: that a fact is missing proves nothing.
    pub incomplete: bool,
}

impl Evidence<'_> {
    /// The table of a process that checks no routes.
    pub const fn no_routes() -> &'static RouteTable {
        static NONE: RouteTable = RouteTable::new();
        &NONE
    }

    /// Whether a virtual network is in scope. An unknown one is only when all are.
    pub(super) fn in_scope(&self, vnet: Option<&str>) -> bool {
        self.vnets.is_empty()
            || vnet.is_some_and(|vnet| self.vnets.iter().any(|wanted| wanted.eq_ignore_ascii_case(vnet)))
    }
}

/// Everything that is wrong with the estate, in the rules' order. What the
/// merge and the sync know better than the facts tell is theirs to say:
/// connections, what lies out of scope, what is refused.
pub fn examine(evidence: &Evidence<'_>) -> Vec<Finding> {
    // Of other zones no rule says anything.
    let private: Vec<Name> = evidence.suffixes.iter().filter_map(private_zone).collect();
    let is_private = |apex: &Name| private.iter().any(|zone| apex.is_at_or_below(zone));
    // A fact for each of a million records takes more memory than all else
    // together: only where something else tells what zones should hold, or two
    // of them may differ, is there a rule that looks at one.
    let facts = || evidence.listings.iter().flat_map(|listing| &listing.facts);
    let apexes: BTreeSet<&Name> =
        facts().filter_map(|fact| fact.what.apex()).filter(|a| is_private(a)).collect();
    let is_of_zone = |what: &What| matches!(what, What::Zone(_) | What::Records(_));
    let is_needed = apexes.len() > 1 || facts().any(|fact| !is_of_zone(&fact.what));
    let concerns =
        |listing: &Listing| is_needed && listing.records().is_some_and(|records| is_private(records.apex()));
    let spread: Vec<Listing> = evidence
        .listings
        .iter()
        .filter(|listing| concerns(listing))
        .map(|listing| listing.spread())
        .collect();
    let mut next = spread.iter();
    let of = |listing: &&Listing| if concerns(listing) { next.next() } else { None };
    let spread: Vec<Option<&Listing>> = evidence.listings.iter().map(of).collect();
    let listings: Vec<&Listing> =
        spread.iter().zip(evidence.listings).map(|(spread, whole)| spread.unwrap_or(whole)).collect();
    let evidence = &Evidence { listings: &listings, ..*evidence };
    let estate = Estate::new(evidence);
    let mut findings = Vec::new();
    let required = names::required(&estate, evidence);
    names::missing(&estate, evidence, &required, &mut findings);
    names::drift(&estate, &required, &mut findings);
    records::unmanaged(&estate, evidence, &mut findings);
    zones::shadowing(&estate, evidence, &required, &mut findings);
    zones::links(&estate, evidence, &mut findings);
    endpoints::duplicates(&estate, &mut findings);
    endpoints::replicas(&estate, evidence, &mut findings);
    endpoints::subnets(&estate, &mut findings);
    ways::routes(&estate, evidence, &mut findings);
    ways::upstreams(evidence, &mut findings);
    findings
}
