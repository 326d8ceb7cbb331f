//! One RRset per owner name and type, out of all that is on offer.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::claims::Claim;
use super::estate::Seen;
use super::prefer::Standing;
use super::zones::{Order, Zones};
use crate::findings::{Code, Finding};
use crate::routes::RouteTable;
use crate::snapshot::model::{Rrset, Variant};
use crate::sources::facts::{RrsetFact, SourceKind};
use crate::sources::registry_name::RegistryName;
use crate::sync::policy::{Fit, Policy};
use crate::sync::provenance::{Alternative, Entry, Rank, Reason, Sighting};
use crate::wire::{Name, Rtype};

/// A winner and the zone that it goes into.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) apex: Name,
    pub(super) rrset: Rrset,
    pub(super) sighting: Sighting,
}

/// Winners and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) winners: Vec<Chosen>,
    pub(super) entries: Vec<Entry>,
}

/// Everything on offer.
pub(super) struct Pool<'a> {
    policy: &'a Policy,
    candidates: Vec<Candidate<'a>>,
}

/// The RDATA of an RRset on offer.
type Rdatas<'a> = Cow<'a, [Box<[u8]>]>;

/// One RRset on offer.
struct Candidate<'a> {
    owner: &'a Name,
    rtype: Rtype,
    apex: Cow<'a, Name>,
    rank: Rank,
    tie: Tie<'a>,
    ttl: Option<u32>,
    rdatas: Rdatas<'a>,
    listing: u32,
    origin: &'a str,
    remembered: bool,
    refused: Option<Reason>,
    /// How well it fits each view; nothing but for endpoints.
    fits: &'a [Fit],
    /// The registry's name, where it is vouched for.
    vouches: Option<RegistryName>,
}

/// The order among candidates of one rank; the smallest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tie<'a> {
    /// The configuration's order.
    Static(u32),
    /// An endpoint among those that serve the name.
    Endpoint(Standing<'a>),
    /// The more specific zone, then the kind of source, the scope, the zone id.
    Zone(Reverse<usize>, Order),
}

impl<'a> Pool<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Self { policy, candidates: Vec::new() }
    }

    /// Offers what endpoints say: an A and an AAAA RRset of each name.
    pub(super) fn add_claims(&mut self, claims: &'a [Claim], routes: &RouteTable) {
        for claim in claims {
            let Some(apex) = self.policy.private_zone_of(&claim.name.private_link) else { continue };
            for rtype in [Rtype::A, Rtype::AAAA] {
                let mut rdatas: Vec<Box<[u8]>> =
                    claim.addresses.iter().filter_map(|address| address_rdata(*address, rtype)).collect();
                if rdatas.is_empty() {
                    continue;
                }
                let tie = Tie::Endpoint(Standing::new(claim, rtype, self.policy, routes));
                rdatas.sort_unstable();
                self.candidates.push(Candidate {
                    owner: &claim.name.private_link,
                    rtype,
                    apex: Cow::Owned(apex.clone()),
                    rank: claim.rank,
                    tie,
                    ttl: None,
                    rdatas: Cow::Owned(rdatas),
                    listing: claim.listing,
                    origin: &claim.origin,
                    remembered: claim.remembered,
                    refused: claim.refused,
                    fits: &claim.fits,
                    vouches: Some(claim.name.clone()),
                });
            }
        }
    }

    /// Offers the RRsets of the configuration and of zones that count.
    pub(super) fn add_rrsets(
        &mut self,
        rrsets: &[Seen<'a, RrsetFact>],
        zones: &Zones,
        findings: &mut Vec<Finding>,
    ) {
        for seen in rrsets {
            if seen.kind == SourceKind::Static {
                self.add_static(seen);
            } else {
                self.add_zone_rrset(seen, zones, findings);
            }
        }
    }

    fn add_static(&mut self, seen: &Seen<'a, RrsetFact>) {
        let place = u32::try_from(self.candidates.len()).unwrap_or(u32::MAX);
        let vouches = RegistryName::from_private_link(&seen.what.owner, &self.policy.suffixes);
        let rdatas = Cow::Borrowed(seen.what.rdatas.as_slice());
        self.push(seen, Rank::Static, Tie::Static(place), rdatas, None, vouches);
    }

    fn add_zone_rrset(&mut self, seen: &Seen<'a, RrsetFact>, zones: &Zones, findings: &mut Vec<Finding>) {
        let rrset = seen.what;
        if seen.kind != SourceKind::ZoneFile && !self.policy.serves_zone(&rrset.zone) {
            return;
        }
        // The zone that is not linked has a finding of its own.
        let Some(order) = zones.order(seen.kind, rrset.zone_id.as_deref()) else { return };
        let (rdatas, refused) = self.admitted(seen, findings);
        let tie = Tie::Zone(Reverse(rrset.zone.label_count()), order);
        self.push(seen, Rank::Zone, tie, rdatas, refused, None);
    }

    fn push(
        &mut self,
        seen: &Seen<'a, RrsetFact>,
        rank: Rank,
        tie: Tie<'a>,
        rdatas: Rdatas<'a>,
        refused: Option<Reason>,
        vouches: Option<RegistryName>,
    ) {
        let rrset = seen.what;
        if rrset.rtype == Rtype::SOA || rdatas.is_empty() || !rrset.owner.is_at_or_below(&rrset.zone) {
            return;
        }
        self.candidates.push(Candidate {
            owner: &rrset.owner,
            rtype: rrset.rtype,
            apex: Cow::Borrowed(&rrset.zone),
            rank,
            tie,
            ttl: Some(rrset.ttl),
            rdatas,
            listing: seen.listing,
            origin: seen.origin,
            remembered: false,
            refused,
            fits: &[],
            vouches,
        });
    }

    /// The RDATA without addresses of registries that may not be served.
    fn admitted(
        &self,
        seen: &Seen<'a, RrsetFact>,
        findings: &mut Vec<Finding>,
    ) -> (Rdatas<'a>, Option<Reason>) {
        let rrset = seen.what;
        let all = Cow::Borrowed(rrset.rdatas.as_slice());
        let allowed = |data: &[u8]| rdata_address(data).is_none_or(|address| self.policy.allows(address));
        let is_address = matches!(rrset.rtype, Rtype::A | Rtype::AAAA);
        if !is_address || !self.policy.is_private_link(&rrset.owner) || all.iter().all(|data| allowed(data)) {
            return (all, None);
        }
        let (good, bad): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|data| allowed(data));
        let reason = Reason::OutsideAllowedPrefixes;
        for address in bad.iter().filter_map(|data| rdata_address(data)) {
            let text = format!("{address} lies outside the allowed prefixes");
            findings.push(Finding::new(refusal(reason), &rrset.owner, seen.origin, text));
        }
        if good.is_empty() { (all, Some(reason)) } else { (Cow::Owned(good), None) }
    }

    /// Private-link names that an endpoint or the configuration vouches for,
    /// with the best sighting of each.
    pub(super) fn vouched(&self) -> BTreeMap<Name, (RegistryName, Sighting)> {
        let mut best: BTreeMap<&Name, &Candidate<'_>> = BTreeMap::new();
        let vouching = self.candidates.iter().filter(|candidate| candidate.refused.is_none());
        for candidate in vouching.filter(|candidate| candidate.vouches.is_some()) {
            let held = best.entry(candidate.owner).or_insert(candidate);
            if (candidate.rank, &candidate.tie) < (held.rank, &held.tie) {
                *held = candidate;
            }
        }
        let with_name = |(owner, candidate): (&Name, &Candidate<'_>)| {
            let name = candidate.vouches.clone()?;
            Some((owner.clone(), (name, candidate.sighting(self.policy))))
        };
        best.into_iter().filter_map(with_name).collect()
    }

    /// Chooses.
    pub(super) fn select(mut self, findings: &mut Vec<Finding>) -> Selection {
        self.candidates.sort_by(|a, b| {
            let key = |c: &Candidate<'a>| (c.rtype, c.refused.is_some(), c.rank);
            a.owner.cmp(b.owner).then_with(|| key(a).cmp(&key(b))).then_with(|| a.tie.cmp(&b.tie))
        });
        let mut selection = Selection::default();
        for owner in self.candidates.chunk_by(|a, b| a.owner == b.owner) {
            self.select_owner(owner, &mut selection, findings);
        }
        selection
    }

    fn select_owner(&self, owner: &[Candidate<'a>], selection: &mut Selection, findings: &mut Vec<Finding>) {
        let accepted = || owner.iter().filter(|candidate| candidate.refused.is_none());
        // Zones unite by owner name; for an owner the most specific one speaks alone.
        let of_zones = accepted().filter(|candidate| candidate.rank == Rank::Zone);
        let specific = of_zones.map(|candidate| candidate.apex.label_count()).max().unwrap_or(0);
        let deepest = accepted().max_by_key(|candidate| candidate.apex.label_count());
        let hidden = |candidate: &Candidate<'a>| {
            candidate.rank == Rank::Zone && candidate.apex.label_count() < specific
        };
        let mut winners = Vec::new();
        for of_type in owner.chunk_by(|a, b| a.rtype == b.rtype) {
            let best = of_type.iter().find(|c| c.refused.is_none() && !hidden(c));
            let variants = best.map(|best| self.variants(best, of_type)).unwrap_or_default();
            let mut chosen: Option<&Candidate<'a>> = None;
            let mut alternatives = Vec::new();
            for candidate in of_type {
                let reason = match (candidate.refused, chosen) {
                    (Some(reason), _) => reason,
                    (None, _) if hidden(candidate) => Reason::MoreSpecificZone,
                    (None, None) => {
                        chosen = Some(candidate);
                        continue;
                    }
                    (None, Some(best)) if best.rank != candidate.rank => Reason::LowerPriority,
                    (None, Some(best)) => match (&best.tie, &candidate.tie) {
                        (Tie::Endpoint(best), Tie::Endpoint(standing)) => standing.lost_to(best),
                        _ => Reason::OtherZone,
                    },
                };
                let views = variants.iter().filter(|(_, chosen)| std::ptr::eq(*chosen, candidate));
                let views = views.filter_map(|(view, _)| self.policy.views.get(*view));
                let views = views.map(|view| view.name.clone()).collect();
                alternatives.push(Alternative { views, ..candidate.alternative(self.policy, reason) });
            }
            let Some(first) = of_type.first() else { continue };
            let zone_ttl = of_type
                .iter()
                .find(|c| c.rank == Rank::Zone && c.refused.is_none() && !hidden(c))
                .and_then(|c| c.ttl);
            let apex = deepest.map_or(first.apex.as_ref(), |deepest| deepest.apex.as_ref());
            selection.entries.push(Entry {
                owner: first.owner.clone(),
                rtype: first.rtype,
                winner: chosen.map(|candidate| candidate.sighting(self.policy)),
                held_back: false,
                alternatives,
            });
            if let Some(candidate) = chosen {
                let ttl = candidate.ttl.or(zone_ttl).unwrap_or(self.policy.interface_ttl);
                let mut chosen = self.chosen(candidate, apex, ttl);
                for (view, variant) in variants {
                    let rdatas = variant.sorted_rdatas();
                    if rdatas != chosen.rrset.rdatas
                        && let Ok(view) = u8::try_from(view + 1)
                    {
                        chosen.rrset.variants.push(Variant { view, rdatas });
                    }
                }
                winners.push((candidate.rank, chosen));
            }
        }
        resolve_cname(&mut winners, &mut selection.entries, findings);
        selection.winners.extend(winners.into_iter().map(|(_, chosen)| chosen));
    }

    /// What the clients of views get instead of `best`, by the view's index:
    /// of the endpoints that fit the view the best one, unless the way to it
    /// failed and that to `best` did not.
    fn variants<'c>(
        &self,
        best: &'c Candidate<'a>,
        of_type: &'c [Candidate<'a>],
    ) -> Vec<(usize, &'c Candidate<'a>)> {
        let Tie::Endpoint(usual) = &best.tie else { return Vec::new() };
        let choose = |view: usize| {
            let fitting = of_type.iter().filter(|candidate| candidate.refused.is_none());
            let fitting = fitting.filter_map(|candidate| match &candidate.tie {
                Tie::Endpoint(standing) => {
                    let fit =
                        candidate.fits.get(view).filter(|(vnet, region)| *vnet.min(region) < usize::MAX)?;
                    Some((standing.of_view(*fit, candidate.rank), candidate))
                }
                _ => None,
            });
            let (_, chosen) = fitting.min_by(|(a, _), (b, _)| a.cmp(b))?;
            let failed = matches!(&chosen.tie, Tie::Endpoint(standing) if standing.failed);
            let is_other = !std::ptr::eq(chosen, best) && (!failed || usual.failed);
            is_other.then_some((view, chosen))
        };
        (0..self.policy.views.len()).filter_map(choose).collect()
    }

    fn chosen(&self, candidate: &Candidate<'a>, apex: &Name, ttl: u32) -> Chosen {
        let rdatas = candidate.sorted_rdatas();
        let rrset = Rrset {
            owner: candidate.owner.clone(),
            rtype: candidate.rtype,
            ttl: self.policy.ttl(ttl),
            rdatas,
            variants: Vec::new(),
        };
        Chosen { apex: apex.clone(), rrset, sighting: candidate.sighting(self.policy) }
    }
}

impl Candidate<'_> {
    fn sighting(&self, policy: &Policy) -> Sighting {
        Sighting {
            listing: self.listing,
            rank: self.rank,
            origin: self.origin.to_owned(),
            ttl: self.ttl.unwrap_or(policy.interface_ttl),
            remembered: self.remembered,
        }
    }

    fn alternative(&self, policy: &Policy, reason: Reason) -> Alternative {
        let rdatas = self.rdatas.to_vec();
        Alternative { sighting: self.sighting(policy), rdatas, reason, views: Vec::new() }
    }

    fn sorted_rdatas(&self) -> Vec<Box<[u8]>> {
        let mut rdatas = self.rdatas.to_vec();
        rdatas.sort_unstable();
        rdatas.dedup();
        if self.rtype == Rtype::CNAME {
            // RFC 2181 section 10.1: one CNAME at most.
            rdatas.truncate(1);
        }
        rdatas
    }
}

/// A CNAME stands alone (RFC 1034 section 3.6.2) and never at an apex. The
/// better rank stays; of equals the other data, which says more.
fn resolve_cname(winners: &mut Vec<(Rank, Chosen)>, entries: &mut [Entry], findings: &mut Vec<Finding>) {
    let Some(at) = winners.iter().position(|(_, chosen)| chosen.rrset.rtype == Rtype::CNAME) else { return };
    let (rank, cname) = &winners[at];
    let at_apex = cname.rrset.owner == cname.apex;
    let others = winners.iter().filter(|(_, chosen)| chosen.rrset.rtype != Rtype::CNAME);
    let Some(best) = others.map(|(rank, _)| *rank).min().or(at_apex.then_some(Rank::Static)) else { return };
    let keep_cname = !at_apex && *rank < best;
    let (kept, lost) = std::mem::take(winners)
        .into_iter()
        .partition(|(_, chosen)| (chosen.rrset.rtype == Rtype::CNAME) == keep_cname);
    *winners = kept;
    let lost: Vec<(Rank, Chosen)> = lost;
    for (_, chosen) in lost {
        lose(entries, &chosen, Reason::CnameConflict, findings);
    }
}

/// The finding for a record that is refused.
const fn refusal(reason: Reason) -> Code {
    match reason {
        Reason::OutsideAllowedPrefixes => Code::AddressOutsideSubnet,
        Reason::OutOfScope => Code::EndpointOutOfScope,
        _ => Code::RecordRefused,
    }
}

/// Turns a winner into an alternative, with a finding.
pub(super) fn lose(entries: &mut [Entry], chosen: &Chosen, reason: Reason, findings: &mut Vec<Finding>) {
    let (owner, rtype) = (&chosen.rrset.owner, chosen.rrset.rtype);
    let text = format!("the {rtype} record is not served: {reason}");
    findings.push(Finding::new(refusal(reason), owner, &chosen.sighting.origin, text));
    if let Some(entry) = entries.iter_mut().rev().find(|e| e.owner == *owner && e.rtype == rtype) {
        let rdatas = chosen.rrset.rdatas.clone();
        let sighting = chosen.sighting.clone();
        let alternative = Alternative { sighting, rdatas, reason, views: Vec::new() };
        entry.winner = None;
        entry.alternatives.insert(0, alternative);
    }
}

fn address_rdata(address: IpAddr, rtype: Rtype) -> Option<Box<[u8]>> {
    match (address, rtype) {
        (IpAddr::V4(address), Rtype::A) => Some(Box::new(address.octets())),
        (IpAddr::V6(address), Rtype::AAAA) => Some(Box::new(address.octets())),
        _ => None,
    }
}

pub(super) fn rdata_address(rdata: &[u8]) -> Option<IpAddr> {
    match rdata.len() {
        4 => <[u8; 4]>::try_from(rdata).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        16 => <[u8; 16]>::try_from(rdata).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}
